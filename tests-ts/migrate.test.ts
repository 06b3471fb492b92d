import { spawn } from 'node:child_process';
import { cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, describe, expect, test } from 'vitest';
import { type MigrateEvent, migrate, migrationsDir } from '../client/migrate.ts';
import { packageRoot } from '../client/package-root.ts';
import { createBareDatabase, withClient } from './support/database.ts';
import { untilBlocked } from './support/wait.ts';

const packaged = (await readdir(migrationsDir()))
  .filter((file) => file.endsWith('.sql'))
  .map((file) => file.replace(/\.sql$/, ''))
  .sort();

describe('migrate', async () => {
  const url = await createBareDatabase();

  test('applies every packaged migration to an empty database, and tells which', async () => {
    const events: MigrateEvent[] = [];
    const { applied } = await migrate({ connection: url, onEvent: (event) => events.push(event) });
    expect(applied).toEqual(packaged);
    expect(events).toEqual(packaged.map((name) => ({ type: 'migration:applied', name })));
  });

  test('does nothing when the database is up to date', async () => {
    expect(await migrate({ connection: url })).toEqual({ applied: [] });
  });

  test('leaves nothing outside of its own schema', async () => {
    const { rows } = await withClient(url, (client) =>
      client.query(
        `select relname as name from pg_class where relnamespace = 'public'::regnamespace
         union all select proname from pg_proc where pronamespace = 'public'::regnamespace
         union all select nspname from pg_namespace
         where nspname !~ '^pg_' and nspname not in ('public', 'information_schema', 'leasehold')`,
      ),
    );
    expect(rows).toEqual([]);
  });

  test('rejects with the error of the server when there is no such database', async () => {
    const nowhere = new URL(url);
    nowhere.pathname = '/leasehold_no_such_database';
    await expect(migrate({ connection: nowhere.href })).rejects.toMatchObject({ code: '3D000' });
  });
});

describe('migrate, called by several processes together', async () => {
  const url = await createBareDatabase();

  test('applies each migration once', async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => migrate({ connection: url })));
    expect(all.flatMap(({ applied }) => applied)).toEqual(packaged);
  });
});

describe('migrate, while a long transaction holds a lock it needs', async () => {
  const url = await createBareDatabase();
  await migrate({ connection: url });
  const dir = await mkdtemp(join(tmpdir(), 'leasehold-migrate-'));
  afterAll(() => rm(dir, { recursive: true, force: true }));
  await cp(migrationsDir(), dir, { recursive: true });
  await writeFile(join(dir, '9999_probe.sql'), 'alter table leasehold.job add probe integer;\n');
  const lock = 'select from leasehold.job';

  test('gives up after its last attempt with the error of the lock, and changes nothing', async () => {
    await withClient(url, async (holder) => {
      await holder.query('begin');
      await holder.query(lock);
      const migrating = migrate({ connection: url, dir, lockTimeoutMs: 50, maxAttempts: 2 });
      await expect(migrating).rejects.toMatchObject({ code: '55P03' });
    });
    const { rowCount } = await withClient(url, (client) =>
      client.query(`select from leasehold.migration where name = '9999_probe'`),
    );
    expect(rowCount).toBe(0);
  });

  test('makes way for the work queued behind it, and succeeds once the lock is free', async () => {
    const events: MigrateEvent[] = [];
    await withClient(url, async (holder) => {
      await holder.query('begin');
      await holder.query(lock);
      const migrating = migrate({ connection: url, dir, onEvent: (event) => events.push(event) });
      await withClient(url, async (worker) => {
        await untilBlocked(worker, { applicationName: 'leasehold migrate' });
        // The migration waits for 2 s at most, and this for it; any longer, and this fails.
        await worker.query(`set lock_timeout = '4s'`);
        await worker.query(lock);
      });
      await holder.query('commit');
      expect(await migrating).toEqual({ applied: ['9999_probe'] });
    });
    expect(events[0]).toMatchObject({ type: 'migration:postponed', attempt: 1 });
    expect(events.at(-1)).toEqual({ type: 'migration:applied', name: '9999_probe' });
  });
});

describe('leasehold migrate', async () => {
  const url = await createBareDatabase();

  test('migrates the database that DATABASE_URL names', async () => {
    const first = await cli(['migrate'], { DATABASE_URL: url });
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toContain(`applied ${packaged[0]}\n`);
  });

  test('migrates the database that --database-url names', async () => {
    const again = await cli(['migrate', '--database-url', url], { DATABASE_URL: '' });
    expect(again).toEqual({ code: 0, stdout: 'schema leasehold is up to date\n', stderr: '' });
  });

  test('tells what is missing when no database is named', async () => {
    const { code, stderr } = await cli(['migrate'], { DATABASE_URL: '' });
    expect(code).toBe(2);
    expect(stderr).toContain('--database-url or the variable DATABASE_URL');
  });

  test('S37 exits with 1 where the schema is newer than the package, and says what to do', async () => {
    const newer = await createBareDatabase();
    await withClient(newer, (client) =>
      client.query(
        `create schema leasehold;
         create function leasehold.schema_version() returns integer language sql return 9999`,
      ),
    );
    const { code, stderr } = await cli(['migrate'], { DATABASE_URL: newer });
    expect(code).toBe(1);
    expect(stderr).toContain('the leasehold schema has version 9999');
    expect(stderr).toContain('hint: Update the leasehold package');
  });

  test('exits with 1 and the reason when the database cannot be reached', async () => {
    const { code, stderr } = await cli(['migrate'], { DATABASE_URL: 'postgres://127.0.0.1:1/no' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^leasehold: connect ECONNREFUSED/);
  });
});

describe('leasehold', () => {
  test('shows its help', async () => {
    const { code, stdout } = await cli(['--help']);
    expect(code).toBe(0);
    expect(stdout).toContain('leasehold migrate [--database-url URL]');
  });

  test('shows its version', async () => {
    expect((await cli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test.each([[[]], [['frobnicate']], [['migrate', '--frobnicate']], [['migrate', 'extra']]])(
    'exits with 2 when it does not understand %j',
    async (args) => {
      const { code, stderr } = await cli(args);
      expect(code).toBe(2);
      expect(stderr).toContain('Try "leasehold --help"');
    },
  );
});

async function cli(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const program = join(packageRoot(), 'client/cli.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', program, ...args], {
    cwd: packageRoot(),
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const [code, stdout, stderr] = await Promise.all([exit, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}
