import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompressSync, constants } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../client/package-root.ts';
import { jobOf, plan } from '../examples/demo/plan.ts';
import { Terminal, wrap } from '../examples/demo/terminal.ts';
import { type File, readTree, sample } from '../examples/demo/tree.ts';
import {
  chunksOf,
  type FileJob,
  FileSkipped,
  finish,
  type Place,
  places,
} from '../examples/demo/work.ts';
import { createBareDatabase, withClient } from './support/database.ts';
import { until } from './support/wait.ts';

const run = promisify(execFile);

/** A folder that the account of an embedded server may enter. */
async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'leasehold-demo-'));
  await chmod(path, 0o755);
  afterAll(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function fileJob(path: string): Promise<FileJob> {
  const { size, mtimeMs } = await stat(path);
  return jobOf({ path, size, modifiedMs: mtimeMs });
}

const text = (bytes: number, seed: number) =>
  Array.from({ length: bytes / 8 }, (_, i) => `${(i * i * seed) % 9999999}`.padEnd(8)).join('');

describe('the work on a file', async () => {
  const path = join(await folder(), 'file.txt');
  await writeFile(path, text(50_000, 3));

  it('comes to the same from whichever chunk it is resumed', async () => {
    const job = { ...(await fileJob(path)), iterations: 3 };
    const passed: Place[] = [];
    for await (const place of places(job)) passed.push(place);

    expect(passed).toHaveLength(8);
    const last = passed.at(-1);
    for (const place of passed) {
      // What goes through the database comes back as JSON says it.
      expect(await finish(job, JSON.parse(JSON.stringify(place)))).toEqual(last);
    }
    expect(await finish(job)).toEqual(last);
  });

  it('compresses every chunk at the highest level', async () => {
    const job = await fileJob(path);
    const content = Buffer.from(text(50_000, 3));
    let bytes = 0;
    for (let i = 0; i < chunksOf(job); i++) {
      bytes += brotliCompressSync(content.subarray(i * job.chunkBytes, (i + 1) * job.chunkBytes), {
        params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY },
      }).length;
    }
    const { compressedBytes } = await finish(job);
    expect(Math.abs(compressedBytes - bytes)).toBeLessThan(bytes / 100);
  });

  it('has a digest that every chunk and every iteration goes into', async () => {
    const job = await fileJob(path);
    const other = join(await folder(), 'other.txt');
    await writeFile(other, `x${text(50_000, 3).slice(1)}`);

    const digests = await Promise.all(
      [job, { ...job, iterations: 2 }, await fileJob(other)].map(async (each) => {
        return (await finish(each)).digest;
      }),
    );
    expect(new Set(digests).size).toBe(3);
  });

  it('ends when the file is not what its job was made for', async () => {
    const changing = join(await folder(), 'changing.txt');
    await writeFile(changing, text(50_000, 5));
    const job = await fileJob(changing);
    const passing = places(job);
    expect((await passing.next()).value).toMatchObject({ chunks: 1 });
    await appendFile(changing, 'more');
    await expect(passing.next()).rejects.toThrow(FileSkipped);
    await rm(changing);
    await expect(finish(job)).rejects.toThrow(FileSkipped);
  });

  it('cuts small files into eight chunks, and large ones into chunks of 256 KiB', () => {
    const job = (size: number) => jobOf({ path: '', size, modifiedMs: 0 });
    expect(chunksOf(job(8))).toBe(8);
    expect(chunksOf(job(100_000))).toBe(8);
    expect(chunksOf(job(100 * 1024 * 1024))).toBe(400);
    expect(chunksOf(job(0))).toBe(0);
  });
});

describe('the choice of files', () => {
  const files: File[] = Array.from({ length: 1000 }, (_, i) => ({
    path: `${i}`,
    size: 1_000_000 - i * 1_000,
    modifiedMs: 0,
  }));

  it('is an even sample of at most so many files with at most so many bytes', () => {
    const chosen = sample(files, 100, 10_000_000);
    expect(chosen).toHaveLength(100);
    const total = chosen.reduce((sum, { size }) => sum + size, 0);
    expect(total).toBeLessThanOrEqual(10_000_000);
    expect(total).toBeGreaterThan(9_000_000);
    expect(sample(files, 5, Infinity)).toHaveLength(5);
    expect(sample(files.slice(0, 3), 100, Infinity)).toHaveLength(3);
    expect(sample(files, 100, 10)).toEqual([]);
  });

  it('has small trees hashed more often, and leaves large ones alone', () => {
    const speed = { bytes: 1_000_000, iterations: 1_000_000 };
    const wish = { files: 10, minSeconds: 10, maxSeconds: 10 };
    const small = plan(files.slice(-3), speed, wish, 2);
    expect(small).toHaveLength(3);
    for (const job of small) expect(job.iterations).toBeGreaterThan(100_000);
    const large = plan(files.slice(0, 10), speed, { ...wish, maxSeconds: Infinity }, 2);
    expect(large.map(({ iterations }) => iterations)).toEqual(Array(10).fill(1));
  });

  it('takes regular files of all levels, and neither links nor what cannot be read', async () => {
    const root = await folder();
    await mkdir(join(root, 'a/b'), { recursive: true });
    await writeFile(join(root, 'a/b/small'), 'x');
    await writeFile(join(root, 'large'), 'xyz');
    await run('ln', ['-s', root, join(root, 'loop')]);
    await run('mkfifo', [join(root, 'pipe')]);
    const { files: found } = await readTree(root);
    expect(found.map(({ path }) => path)).toEqual([join(root, 'large'), join(root, 'a/b/small')]);
    await expect(readTree(join(root, 'nothing'))).rejects.toThrow(/ENOENT/);
  });
});

describe('its terminal', () => {
  const written = (tty: boolean, columns: number, use: (terminal: Terminal) => void) => {
    let text = '';
    const out = {
      isTTY: tty,
      columns,
      hasColors: () => false,
      write: (part: string) => {
        text += part;
        return true;
      },
    };
    use(new Terminal(out as unknown as NodeJS.WriteStream));
    return text;
  };

  it('shows a bar that fits, under the lines', () => {
    for (const columns of [20, 40, 80, 200]) {
      const shown = written(true, columns, (terminal) => {
        terminal.progress({ done: 120, total: 240, what: 'jobs finished' });
        terminal.line('event');
      });
      const [bar, line, again] = shown.replaceAll('\r\x1b[K', '\n').split('\n');
      expect(line).toBe('event');
      expect(again).toBe(bar);
      expect(bar?.length).toBeLessThan(columns);
      if (columns > 40) expect(bar).toMatch(/\[#+\.+\] +50 % +120 of 240/);
    }
  });

  it('writes plain lines where there is no terminal', () => {
    const shown = written(false, 0, (terminal) => {
      terminal.progress({ done: 1, total: 240, what: 'jobs finished' });
      terminal.progress({ done: 2, total: 240, what: 'jobs finished' });
    });
    expect(shown).toMatch(/^ +0\.0 s {2}0 % {2}1 of 240 jobs finished\n$/);
  });

  it('breaks notes at spaces', () => {
    expect(wrap('one two three', 8, '  ')).toBe('one two\n  three');
  });
});

describe('the demonstration', async () => {
  const [place, tree, empty] = [await folder(), await folder(), await folder()];
  const database = await createBareDatabase();
  let build = '';

  beforeAll(async () => {
    // Of its own, since other tests make dist/ anew. Here it finds the package's dependencies.
    build = await mkdtemp(join(packageRoot(), 'node_modules', '.leasehold-demo-'));
    await run(process.execPath, [
      join(packageRoot(), 'node_modules/typescript/bin/tsc'),
      ...['-p', join(packageRoot(), 'tsconfig.build.json'), '--outDir', build],
    ]);
    await mkdir(join(tree, 'below'));
    for (let i = 0; i < 14; i++) {
      await writeFile(join(tree, i % 2 ? 'below' : '.', `${i}.txt`), text(4_000 * (i + 1), i + 1));
    }
  }, 120_000);
  afterAll(() => rm(build, { recursive: true, force: true }));

  /** Runs a program of the build in a process group of its own, as a shell would. */
  function start(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    const { DATABASE_URL: _, ...inherited } = process.env;
    const child = spawn(process.execPath, [join(build, program), ...args], {
      cwd: place,
      env: { ...inherited, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const demo = { pid: child.pid as number, out: '', err: '', exit: once(child, 'exit') };
    child.stdout.on('data', (data) => (demo.out += data));
    child.stderr.on('data', (data) => (demo.err += data));
    return demo;
  }

  /** Processes whose command line names a folder of this test: the demo, its workers, its server. */
  async function left(): Promise<string[]> {
    const { stdout } = await run('ps', ['-eo', 'pid,args']);
    return stdout.split('\n').filter((line) => line.includes(build) || line.includes(place));
  }

  const FULL = ['--files', '12', '--seconds', '5'];

  /** The table's numbers by their names. */
  function table(out: string): Record<string, number> {
    const rows = out.matchAll(/^ {2}(\S.*?) +(\d+) {2}\(\d\)$/gm);
    return Object.fromEntries([...rows].map(([, name, value]) => [name, Number(value)]));
  }

  function expectTable(demo: { out: string; err: string }): void {
    const numbers = table(demo.out);
    expect(numbers, demo.out + demo.err).toMatchObject({
      jobs: 12,
      duplicates: 0,
      lost: 0,
      'equal to a direct run': 12,
    });
    expect(numbers['expired leases']).toBeGreaterThanOrEqual(2);
    expect(numbers.attempts).toBeGreaterThanOrEqual(12 + Number(numbers['expired leases']));
    expect(numbers['resumed from a checkpoint']).toBeGreaterThanOrEqual(1);
    expect(numbers['zombie writes refused']).toBeGreaterThanOrEqual(1);
    expect(demo.out).toMatch(
      /killed \(SIGKILL\) while it worked on [12] jobs? \(checkpoints saved/,
    );
    expect(demo.out).toMatch(/frozen \(SIGSTOP\)[\s\S]*taken over by[\s\S]*thawed \(SIGCONT\)/);
    expect(demo.out).toMatch(/refused \(lease_lost\)/);
    expect(demo.out).toContain('Every job finished exactly once, with the right result.');
    expect(demo.err).toBe('');
  }

  it('leaves no process behind when it is killed while a worker is frozen', {
    timeout: 240_000,
  }, async () => {
    const demo = start('examples/demo/main.js', [tree, ...FULL]);
    await until(() => /frozen \(SIGSTOP\)/.test(demo.out) || demo.err !== '');
    expect(demo.err).toBe('');
    process.kill(demo.pid, 'SIGKILL');
    await demo.exit;
    await until(async () => (await left()).length === 0);
  });

  it('finishes every job once on an embedded server, after a run that was killed', {
    timeout: 240_000,
  }, async () => {
    const demo = start('examples/demo/main.js', [tree, ...FULL]);
    expect(await demo.exit, demo.out + demo.err).toEqual([0, null]);
    expectTable(demo);
    expect(demo.out).toMatch(/PostgreSQL restarted: [1-9]\d* sessions cut/);
    expect(await left()).toEqual([]);
  });

  it('stops everything on Ctrl-C', { timeout: 240_000 }, async () => {
    const demo = start('client/cli.js', ['demo', tree]);
    await until(() => /workers started/.test(demo.out) || demo.err !== '');
    process.kill(-demo.pid, 'SIGINT');
    expect(await demo.exit, demo.out + demo.err).toEqual([130, null]);
    expect(demo.err).toBe('demo: interrupted (SIGINT)\n');
    expect(await left()).toEqual([]);
  });

  it('S42 ends with npm start, which is told by SIGTERM', { timeout: 240_000 }, async () => {
    const home = join(place, 'npm-start');
    await mkdir(home);
    await symlink(build, join(home, 'dist'));
    const { scripts } = JSON.parse(await readFile(join(packageRoot(), 'package.json'), 'utf8'));
    const { start: script } = scripts;
    await writeFile(
      join(home, 'package.json'),
      JSON.stringify({ type: 'module', scripts: { build: 'true', start: script } }),
    );
    const npm = spawn('npm', ['start', '--', tree], {
      cwd: home,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const told = { out: '', err: '' };
    npm.stdout.on('data', (data) => (told.out += data));
    npm.stderr.on('data', (data) => (told.err += data));
    const exit = once(npm, 'close');
    await until(() => /workers started/.test(told.out) || told.err !== '');
    npm.kill('SIGTERM');
    await exit;
    expect(told.err).toContain('demo: interrupted (SIGTERM)\n');
    expect(await left()).toEqual([]);
  });

  it('works on a server of the user’s, whose sessions it ends instead', {
    timeout: 240_000,
  }, async () => {
    const demo = start('examples/demo/main.js', [tree, ...FULL], { DATABASE_URL: database });
    expect(await demo.exit, demo.out + demo.err).toEqual([0, null]);
    expectTable(demo);
    expect(demo.out).toMatch(/all sessions of the demo terminated .*: [1-9]\d* sessions cut/);
    await withClient(database, async (client) => {
      const { rows } = await client.query(
        `select completed::int4, ready::int4, leased::int4, workers::int4
         from leasehold.queue_stats() where queue like 'demo-%'`,
      );
      // The killed worker could not take itself out of the registry.
      expect(rows).toEqual([{ completed: 12, ready: 0, leased: 0, workers: 1 }]);
    });
    expect(await left()).toEqual([]);
  });

  it.each([
    [['--files', '0'], 2, /--files must be a whole number from 1 to/],
    [['--nonsense'], 2, /nonsense/],
    [['a', 'b'], 2, /one folder at most/],
    [['/nowhere/at/all'], 1, /ENOENT.*nowhere/],
    [[empty], 1, /nothing to work on/],
  ])('says what is wrong with %j', { timeout: 120_000 }, async (args, status, message) => {
    const demo = start('examples/demo/main.js', args, { DATABASE_URL: database });
    expect(await demo.exit).toEqual([status, null]);
    expect(demo.err).toMatch(message);
  });
});
