import { randomBytes, randomUUID } from 'node:crypto';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import { Client, Scheduler, type SchedulerEvent } from '../../client/index.ts';
import { type MigrateEvent, migrate, migrationsDir } from '../../client/migrate.ts';
import { installSql } from '../../scripts/manifest.ts';
import { callAll } from '../support/call-all.ts';
import {
  createBareDatabase,
  createDatabase,
  createServer,
  withClient,
} from '../support/database.ts';
import { Session } from '../support/sessions.ts';
import { until } from '../support/wait.ts';

/** What a database or a role may have set, and what a job's life must not care about. */
const SETTINGS: readonly (readonly [settings: string, ...commands: string[]])[] = [
  ['isolation repeatable read', "default_transaction_isolation = 'repeatable read'"],
  ['isolation serializable', "default_transaction_isolation = 'serializable'"],
  ['no array_nulls', 'array_nulls = off'],
  ['one digit of a fraction', 'extra_float_digits = -15'],
  ['a search_path with pg_catalog last', 'search_path = shadow, pg_catalog'],
  [
    'other styles, limits and plans',
    'default_transaction_deferrable = on',
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "TimeZone = 'Australia/Lord_Howe'",
    "bytea_output = 'escape'",
    'standard_conforming_strings = off',
    'transform_null_equals = on',
    'row_security = off',
    "client_encoding = 'LATIN1'",
    "lock_timeout = '2s'",
    "statement_timeout = '10s'",
    "idle_in_transaction_session_timeout = '10s'",
    'plan_cache_mode = force_custom_plan',
    'jit_above_cost = 0',
    'client_min_messages = debug1',
  ],
];

/** A function and an operator named as each of pg_catalog's, which fail; and types that hold something else. */
const SHADOW = `
  create schema shadow;
  do $do$
  declare
    v_types constant regtype[] := array['integer', 'bigint', 'double precision', 'numeric', 'text', 'uuid',
      'interval', 'timestamptz', 'jsonb', 'boolean', 'anyarray', 'anycompatiblearray', 'anyelement', '"any"'];
    v_found record;
    v_trap text;
  begin
    for v_found in
      select proc.proname as name, (
        select string_agg(type::regtype::text, ', ') from unnest(proc.proargtypes) as type
      ) as arguments
      from pg_proc as proc
      where proc.pronamespace = 'pg_catalog'::regnamespace
        and proc.prokind = 'f'
        and proc.pronargs between 1 and 4
        and proc.proargtypes::oid[] <@ v_types::oid[]
        and proc.prorettype = any (v_types || 'void'::regtype)
    loop
      execute format(
        'create function shadow.%I(%s) returns void language plpgsql as $$ begin raise exception using message = %L; end $$',
        v_found.name,
        replace(v_found.arguments, '"any"', 'anyelement'),
        'shadow.' || v_found.name
      );
    end loop;
    for v_found in
      select operator.oprname as name, operator.oprleft::regtype as l, operator.oprright::regtype as r
      from pg_operator as operator
      where operator.oprleft = any (v_types) and operator.oprright = any (v_types)
    loop
      v_trap := format('trap_%s', md5(v_found.name || v_found.l || v_found.r));
      execute format(
        'create function shadow.%I(%s, %s) returns boolean language plpgsql as $$ begin raise exception using message = %L; end $$',
        v_trap, v_found.l, v_found.r, 'shadow ' || v_found.name
      );
      execute format('create operator shadow.%s (leftarg = %s, rightarg = %s, function = shadow.%I)',
        v_found.name, v_found.l, v_found.r, v_trap);
    end loop;
  end
  $do$;
  create domain shadow.text as pg_catalog.int4 check (value > 1000);
  create domain shadow.uuid as pg_catalog.int4 check (value > 1000);
  create domain shadow.jsonb as pg_catalog.int4 check (value > 1000);
  create domain shadow.int4 as pg_catalog.bool;
  create domain shadow.int8 as pg_catalog.bool;
  create domain shadow.float8 as pg_catalog.bool;
  create domain shadow.timestamptz as pg_catalog.bool;`;

/** Sets what new sessions of a database begin with, from another one. */
async function alterDatabase(url: string, ...changes: readonly string[]): Promise<void> {
  const name = new URL(url).pathname.slice(1);
  await withClient(inject('server').url, async (client) => {
    for (const change of changes) await client.query(`alter database ${name} ${change}`);
  });
}

/** One job through everything a Scheduler does, and others through each method of a Client. */
async function live(url: string): Promise<void> {
  const pool = new pg.Pool({ connectionString: url });
  try {
    await underScheduler(url, new Client(pool));
    await callAll(pool);
  } finally {
    await pool.end();
  }
}

async function underScheduler(url: string, client: Client): Promise<void> {
  const queue = randomUUID();
  await client.createQueue(queue, { backoffBaseMs: 0, backoffMaxMs: 0 });
  const events: SchedulerEvent[] = [];
  let complete = (): void => undefined;
  const completed = new Promise<void>((resolve) => {
    complete = resolve;
  });
  const scheduler = new Scheduler({
    connection: url,
    handlers: {
      [queue]: async (job, context) => {
        if (job.attempt === 1) throw new Error("an 'error' \\ with null");
        if (job.attempt === 2) {
          await context.checkpoint({ null: null, at: 1.25 }, { flush: true });
          context.release();
        }
        return [job.payload, job.checkpoint, context.remainingMs() > 20_000];
      },
    },
    leaseMs: 30_000,
    onEvent: (event) => {
      events.push(event);
      if (event.type === 'job:settled' && event.status === 'completed') complete();
    },
  });
  await scheduler.start();
  const payload = { text: "a 'quote', a \\ and null", null: null };
  const jobId = await client.enqueue(queue, payload);
  await completed;
  await scheduler.stop();
  expect(events.filter((event) => 'error' in event && event.type !== 'job:settled')).toEqual([]);
  expect(await client.job(jobId)).toMatchObject({
    state: 'completed',
    attempt: 3,
    failures: 1,
    releases: 1,
    losses: 0,
    result: [payload, { null: null, at: 1.25 }, true],
  });
}

describe('S27 a job lives as usual where the database has', async () => {
  const url = await createDatabase();
  beforeAll(() => withClient(url, (client) => client.query(SHADOW)));
  afterAll(() => alterDatabase(url, 'reset all'));

  test.each(SETTINGS)('%s', async (name, ...settings) => {
    await alterDatabase(url, 'reset all', ...settings.map((setting) => `set ${setting}`));
    if (!name.startsWith('isolation')) return await live(url);

    const pool = new pg.Pool({ connectionString: url });
    try {
      await underScheduler(url, new Client(pool));
      // What a pool's sessions begin with is for their owner to say: the hint is how.
      const refused = await new Client(pool).tick().catch((error: unknown) => error);
      expect(refused).toMatchObject({ code: 'isolation_not_supported' });
      const [command = ''] =
        /alter role .* = 'read committed'(?=;)/.exec(String((refused as { hint: string }).hint)) ??
        [];
      await pool.query(command);
    } finally {
      await pool.end();
    }
    await live(url);
    await withClient(url, async (client) => {
      const { rows } = await client.query('select current_database() as name');
      await client.query(`alter role current_user in database ${rows[0].name} reset all`);
    });
  });
});

test('S27 migrate makes the same of a database whatever it has set', async () => {
  const url = await createBareDatabase();
  await withClient(url, (client) => client.query(SHADOW));
  await alterDatabase(
    url,
    ...SETTINGS.flatMap(([, ...settings]) => settings.map((each) => `set ${each}`)),
  );
  await migrate({ connection: url });
  await alterDatabase(url, 'reset all', 'set search_path = shadow, pg_catalog');
  await live(url);
});

describe('S28 a standby answers what only looks, and refuses everything else with LH007', async () => {
  const server = await createServer();
  await withClient(server.url, async (client) => {
    await client.query(`select leasehold.create_queue('q'), leasehold.enqueue('q', '1')`);
    const { rows } = await client.query<{ folder: string }>(
      `select pg_catalog.current_setting('data_directory') as folder`,
    );
    await server.down();
    await writeFile(join(rows[0]?.folder ?? '', 'standby.signal'), '');
    await server.up();
  });
  const session = await Session.open(server.url);
  /** A value for every type of a parameter that has no default, and for some by name. */
  const VALUES: Readonly<Record<string, string>> = {
    p_mode: `'off'`,
    p_backend_pid: 'pg_backend_pid()',
    bigint: '1',
    'bigint[]': 'array[1]',
    integer: '1',
    jsonb: `'[{"payload": 1}]'`,
    text: `'q'`,
    'text[]': `array['q']`,
    uuid: 'gen_random_uuid()',
    'uuid[]': 'array[gen_random_uuid()]',
  };
  const functions = await session.rows(
    `select
       proc.proname as name,
       array_to_string(array(
         select proc.proargnames[nth] || ' => ' || format_type(proc.proargtypes[nth - 1], null)
         from generate_series(1, greatest(proc.pronargs - proc.pronargdefaults, 1)) as nth
         where nth <= proc.pronargs
       ), ', ') as parameters,
       case when obj_description(proc.oid) ~ 'LH007' then 'LH007' else 'answered' end as answer
     from pg_proc as proc
     where proc.pronamespace = 'leasehold'::regnamespace and proc.proname !~ '^_'`,
  );

  test.each(functions)('$name: $answer', async ({ name, parameters, answer }) => {
    const values = parameters?.replace(
      /(\w+) => ([a-z[\]]+)/g,
      (_, parameter, type) => `${parameter} => ${VALUES[parameter] ?? VALUES[type]}`,
    );
    const given = session
      .rows(`select * from leasehold.${name}(${values})`)
      .then(() => 'answered')
      .catch((error: unknown) => (error as { code: string }).code);
    expect(await given).toBe(answer);
  });
});

/** A role of the test's own, dropped after the file's tests, and its way into a database. */
async function createRole(): Promise<{ name: string; into: (url: string) => string }> {
  const name = `leasehold_test_${randomBytes(6).toString('hex')}`;
  const password = randomUUID();
  const { url: server } = inject('server');
  afterAll(() => withClient(server, (client) => client.query(`drop role ${name}`)));
  await withClient(server, (client) =>
    client.query(`create role ${name} login password '${password}'`),
  );
  const into = (url: string): string => {
    const other = new URL(url);
    [other.username, other.password] = [name, password];
    return other.href;
  };
  return { name, into };
}

describe('S29 migrate, as a role without CREATE on the database,', async () => {
  const role = await createRole();
  // Dropped before the role is, since they are made after it.
  const urls = [await createBareDatabase(), await createBareDatabase(), await createBareDatabase()];

  test.each([
    ['that owns the schema', urls[0], `create schema leasehold authorization ${role.name}`],
    [
      'that may create in the schema',
      urls[1],
      `create schema leasehold; grant usage, create on schema leasehold to ${role.name}`,
    ],
  ])('%s, applies everything, and the role works with it', async (_, url = '', given) => {
    await withClient(url, (client) => client.query(given));
    const connection = role.into(url);
    const { applied } = await migrate({ connection });
    expect(applied).toContain('0001_install');
    expect(await migrate({ connection })).toEqual({ applied: [] });
    await live(connection);
  });

  test('finds nothing to apply where it may only call', async () => {
    const [, , url = ''] = urls;
    await migrate({ connection: url });
    await withClient(url, (client) =>
      client.query(
        `grant usage on schema leasehold to ${role.name};
         grant execute on function leasehold.schema_version() to ${role.name}`,
      ),
    );
    expect(await migrate({ connection: role.into(url) })).toEqual({ applied: [] });
  });
});

/** A folder with the packaged migrations and the next one. */
async function withNext(sql: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'leasehold-next-'));
  afterAll(() => rm(dir, { recursive: true, force: true }));
  await cp(migrationsDir(), dir, { recursive: true });
  const version = await withClient(upgraded, async (client) => {
    const { rows } = await client.query('select leasehold.schema_version() as version');
    return Number(rows[0].version) + 1;
  });
  await writeFile(
    join(dir, `${String(version).padStart(4, '0')}_next.sql`),
    `${sql};
     create or replace function leasehold.schema_version() returns integer
     language sql immutable return ${version};\n`,
  );
  return dir;
}

const NEXT = `alter table leasehold.job add column next integer not null default 1;
  select pg_sleep(0.3);
  alter table leasehold.lease add column next integer not null default 1`;

/** Made by sql/install.sql. */
const upgraded = await createDatabase();

test('S42 migrate takes over what sql/install.sql has made, and goes on from there', async () => {
  const url = await createDatabase();
  expect(await migrate({ connection: url })).toEqual({ applied: [] });
  const events: MigrateEvent[] = [];
  const dir = await withNext('alter table leasehold.job add column next integer');
  await migrate({ connection: url, dir, onEvent: (event) => events.push(event) });
  expect(events).toEqual([
    { type: 'migration:adopted', name: '0001_install' },
    { type: 'migration:applied', name: expect.stringMatching(/_next$/) },
  ]);
  expect(await migrate({ connection: url, dir })).toEqual({ applied: [] });
});

test('S37 migrate refuses a schema that is newer than its package', async () => {
  const url = await createDatabase();
  await migrate({ connection: url, dir: await withNext('select 1') });
  await expect(migrate({ connection: url })).rejects.toMatchObject({
    code: 'schema_unknown',
    hint: expect.stringContaining('Update the leasehold package'),
  });
  await live(url);
});

test('S37 a migration never ends a call that holds a table it wants, and waits for one it has', async () => {
  const url = await createDatabase();
  const dir = await withNext(NEXT);
  const caller = await Session.open(url);
  const observer = await Session.open(url);
  await caller.rows('begin');
  await caller.rows('select from leasehold.lease');
  const migrating = migrate({ connection: url, dir });
  migrating.catch(() => undefined);
  await until(async () => {
    const waiting = await observer.rows(
      `select from pg_stat_activity
       where datname = current_database() and application_name = 'leasehold migrate'
         and (wait_event = 'PgSleep' or wait_event_type = 'Lock')`,
    );
    return waiting.length > 0;
  });
  await caller.rows('select from leasehold.job');
  await caller.rows('commit');
  expect(await migrating).toMatchObject({ applied: [expect.stringMatching(/_next$/)] });
});

test('S37 a migration has all tables that it names before its first statement', async () => {
  const url = await createDatabase();
  const statements = {
    attempt: `create trigger next before update on leasehold.attempt
      for each row execute function suppress_redundant_updates_trigger()`,
    dedup: 'alter table if exists leasehold.dedup add column next integer',
    finished: 'drop index leasehold.finished_prune_idx',
    mark: 'alter table only leasehold.mark add column next integer',
    queue: 'create index queue_next_idx on leasehold.queue (paused_at)',
    worker: 'update leasehold.worker set pid = 1',
  };
  const dir = await withNext(`
    do $$
    begin
      if (
        select array_agg(relation.relname::text order by relation.relname)
        from pg_locks as held
        join pg_class as relation on relation.oid = held.relation
        where held.pid = pg_backend_pid()
          and held.mode = 'AccessExclusiveLock'
          and relation.relkind = 'r'
      ) is distinct from '{${Object.keys(statements)}}' then
        raise exception 'other tables are locked';
      end if;
    end
    $$;
    ${Object.values(statements).join(';')};
    -- generated from sql/ by npm run migration:refresh; edit above this line only
    select from leasehold.job`);
  expect(await migrate({ connection: url, dir })).toMatchObject({
    applied: [expect.stringMatching(/_next$/)],
  });
});

test('S37 a migration under load, beside a reader of some seconds, costs no call and no job', async () => {
  const url = await createDatabase();
  const dir = await withNext(NEXT);
  const pool = new pg.Pool({ connectionString: url });
  const client = new Client(pool);
  await client.createQueue('load', { keepCompletedMs: 0 });
  await client.createQueue('kept');
  const failures: unknown[] = [];
  const scheduler = new Scheduler({
    connection: url,
    leaseMs: 30_000,
    handlers: { load: () => 1, kept: () => 2 },
    onEvent: (event) => {
      if (event.type !== 'job:settled' ? 'error' in event : event.status !== 'completed') {
        failures.push(event);
      }
    },
  });
  await scheduler.start();
  const reader = await Session.open(url);
  await reader.rows('begin');
  await reader.rows('select from leasehold.job, leasehold.lease');

  let loading = true;
  let enqueued = 0;
  const load = (async () => {
    while (loading) {
      await client.enqueueMany('load', [{ payload: 1 }, { payload: 2 }]);
      await client.enqueue('kept', 3);
      enqueued += 3;
    }
  })();
  await until(() => enqueued > 30);
  const postponed: MigrateEvent[] = [];
  const migrating = migrate({
    connection: url,
    dir,
    lockTimeoutMs: 300,
    onEvent: (event) => postponed.push(event),
  });
  // It steps back for the reader, and the traffic goes on.
  await until(() => postponed.length > 1);
  await reader.rows('commit');
  const { applied } = await migrating;
  const before = enqueued;
  await until(() => enqueued > before + 30);
  loading = false;
  await load;
  await until(async () => {
    const stats = await client.queueStats();
    return stats.every(({ ready, leased }) => ready + leased === 0);
  });
  await scheduler.stop();
  const stats = await client.queueStats();
  const { rows } = await pool.query(
    'select deadlocks::int4 from pg_stat_database where datname = current_database()',
  );
  await pool.end();

  expect(applied).toHaveLength(1);
  expect(failures).toEqual([]);
  expect(rows).toEqual([{ deadlocks: 0 }]);
  expect(stats.reduce((sum, { completed, pruned }) => sum + completed + pruned, 0)).toBe(enqueued);
});

test('S42 migrate says what is wrong with a database of another encoding', async () => {
  const url = await createBareDatabase();
  const name = `leasehold_test_${randomBytes(6).toString('hex')}`;
  const [server, latin1] = [inject('server').url, new URL(url)];
  latin1.pathname = `/${name}`;
  await withClient(server, (client) =>
    client.query(`create database ${name} template template0 encoding 'LATIN1' locale 'C'`),
  );
  onTestFinished(() =>
    withClient(server, async (client) => {
      await client.query(`drop database ${name}`);
    }),
  );
  await expect(migrate({ connection: latin1.href })).rejects.toMatchObject({
    code: 'invalid_argument',
    message: 'leasehold needs a database of encoding UTF8, this one has LATIN1',
    hint: expect.stringContaining("encoding 'UTF8'"),
  });
  const [schemaSql = ''] = (await installSql()).split('create table');
  await expect(withClient(latin1.href, (client) => client.query(schemaSql))).rejects.toThrow(
    'encoding UTF8, this one has LATIN1',
  );
});

test.each([
  'nonsense',
  ' ',
  'host=127.0.0.1 dbname=x',
  'http://127.0.0.1:1/x',
  'mysql://127.0.0.1:1/x',
  'postgres://user:se#cret@127.0.0.1/x',
  'postgres://127.0.0.1:99999/x',
])('S42 migrate and Scheduler refuse the connection %j, and do not show it', async (connection) => {
  const refusal = {
    name: 'LeaseholdError',
    code: 'invalid_argument',
    message: 'connection must be a URL such as postgres://user@host:5432/database',
  };
  await expect(migrate({ connection })).rejects.toMatchObject(refusal);
  const started = async () => new Scheduler({ connection, handlers: { q: () => 1 } });
  await expect(started()).rejects.toMatchObject(refusal);
});

describe('S42 an id or a token that is none is invalid_argument:', async () => {
  const pool = new pg.Pool({ connectionString: await createDatabase() });
  afterAll(() => pool.end());
  const client = new Client(pool);
  const uuid = randomUUID();
  const [id, token] = ['1', 'not a token'];

  test.each<[string, () => Promise<unknown>]>([
    ['job', () => client.job('abc')],
    ['job with an empty id', () => client.job('')],
    ['job with a number that is too large', () => client.job('9223372036854775808')],
    ['job with nothing', () => client.job(undefined as never)],
    ['cancel', () => client.cancel('1; drop table x')],
    ['peek', () => client.peek('q', { after: 'abc' })],
    ['redrive', () => client.redrive({ jobIds: ['1', 'abc'] })],
    ['redrive with a hole', () => client.redrive({ jobIds: ['1', undefined as never] })],
    ['heartbeat', () => client.heartbeat('abc', uuid)],
    ['heartbeat with a token', () => client.heartbeat(id, token)],
    ['heartbeatMany', () => client.heartbeatMany([{ jobId: 'a,b', token: uuid }])],
    ['heartbeatMany with a token', () => client.heartbeatMany([{ jobId: id, token }])],
    ['assertLease', () => client.assertLease('abc', uuid)],
    ['assertLease with a token', () => client.assertLease(id, token)],
    ['complete', () => client.complete('abc', uuid)],
    ['complete with a token', () => client.complete(id, token)],
    ['completeMany', () => client.completeMany([{ jobId: '{1}', token: uuid }])],
    ['completeMany with a token', () => client.completeMany([{ jobId: id, token }])],
    ['fail', () => client.fail('abc', uuid)],
    ['fail with a token', () => client.fail(id, token)],
    ['failMany', () => client.failMany([{ jobId: '1.5', token: uuid }])],
    ['failMany with a token', () => client.failMany([{ jobId: id, token }])],
    ['release', () => client.release('abc', uuid)],
    ['release with a token', () => client.release(id, token)],
    ['releaseMany', () => client.releaseMany([{ jobId: 'abc', token: uuid }])],
    ['releaseMany with a token', () => client.releaseMany([{ jobId: id, token }])],
    ['deadLetter', () => client.deadLetter('abc', uuid)],
    ['deadLetter with a token', () => client.deadLetter(id, token)],
    ['registerWorker', () => client.registerWorker('abc', { queues: ['q'] })],
    ['retireWorker', () => client.retireWorker('abc')],
    ['leaseJobs', () => client.leaseJobs(['q'], { workerId: 'abc' })],
    ['leaseJobs with a request', () => client.leaseJobs(['q'], { workerId: uuid, requestId: 'x' })],
  ])('%s', async (_, call) => {
    await expect(call()).rejects.toMatchObject({
      name: 'LeaseholdError',
      code: 'invalid_argument',
    });
  });
});
