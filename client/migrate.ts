import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { jittered } from './clock.ts';
import { LeaseholdError, schemaUnknown } from './errors.ts';
import { connectionOf } from './options.ts';
import { packageRoot } from './package-root.ts';

export interface MigrateOptions {
  /** Where the database is: a connection string, or what `pg.Client` takes. */
  readonly connection: string | pg.ClientConfig;
  /** Longest wait for one lock, in milliseconds; workers may queue behind it that long. @default 2000 */
  readonly lockTimeoutMs?: number | undefined;
  /** How often a migration that did not get its locks is tried before giving up, 1 or more. @default 20 */
  readonly maxAttempts?: number | undefined;
  /** Told what happens. @default nobody */
  readonly onEvent?: ((event: MigrateEvent) => void) | undefined;
  /** Gives up waiting for the next attempt. @default never */
  readonly signal?: AbortSignal | undefined;
  /** Folder of the migrations. @default the packaged ones @internal */
  readonly dir?: string | undefined;
}

export type MigrateEvent =
  /** It was there without a record: sql/install.sql had made it. */
  | { readonly type: 'migration:adopted'; readonly name: string }
  | { readonly type: 'migration:applied'; readonly name: string }
  | {
      readonly type: 'migration:postponed';
      readonly attempt: number;
      readonly retryInMs: number;
      readonly cause: Error;
    };

export interface MigrateResult {
  /** Names of the migrations that this call applied, in order; empty when there were none to apply. */
  readonly applied: readonly string[];
}

/** The packaged migrations: SQL files in the order of their numbers. */
export function migrationsDir(): string {
  return join(packageRoot(), 'migrations');
}

const DEFAULTS = { lockTimeoutMs: 2_000, maxAttempts: 20 } as const;

const BACKOFF_MS = { first: 250, longest: 10_000 } as const;
const CONNECT_TIMEOUT_MS = 10_000;

/** What passes when a migration steps back: a lock that was not free in time, a deadlock that it was part of. */
const GIVES_WAY: readonly (string | undefined)[] = ['55P03', '40P01'];

/** Any number, as long as an application's own node-pg-migrate has another. */
const ADVISORY_LOCK = 5_193_764_281;

/**
 * Brings schema `leasehold` to this package's version, in one transaction: all of it or nothing. A schema that
 * sql/install.sql made is taken over as it is.
 *
 * Safe while workers run and safe to call from several processes at once. A lock that is not free
 * within `lockTimeoutMs` makes the whole migration step back and try again later, so that the work
 * queued behind its request goes on. Rejects with the database's error when that fails `maxAttempts`
 * times, or at once when anything else is wrong; with `schema_unknown` where the schema is newer than
 * this package.
 */
export async function migrate(options: MigrateOptions): Promise<MigrateResult> {
  const connection = connectionOf('connection', options.connection);
  const { dir = migrationsDir() } = options;
  const { lockTimeoutMs = DEFAULTS.lockTimeoutMs, maxAttempts = DEFAULTS.maxAttempts } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const { adopted, applied } = await tryOnce(connection, dir, lockTimeoutMs);
      for (const name of adopted) options.onEvent?.({ type: 'migration:adopted', name });
      for (const name of applied) options.onEvent?.({ type: 'migration:applied', name });
      return { applied };
    } catch (error) {
      if (!givesWay(error) || attempt >= maxAttempts) throw error;
      const { first, longest } = BACKOFF_MS;
      const retryInMs = Math.round(jittered(Math.min(first * 2 ** (attempt - 1), longest)));
      options.onEvent?.({ type: 'migration:postponed', attempt, retryInMs, cause: error });
      await sleep(retryInMs, undefined, options.signal ? { signal: options.signal } : {});
    }
  }
}

/** On a connection of its own, whose end gives up every lock, however far the attempt came. */
async function tryOnce(
  connection: string | pg.ClientConfig,
  dir: string,
  lockTimeoutMs: number,
): Promise<Changes> {
  const client = new pg.Client({
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: 'leasehold migrate',
    ...(typeof connection === 'string' ? { connectionString: connection } : connection),
  });
  // A lost connection is reported by the query it interrupts; without a listener it ends the process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(
      `select
         pg_catalog.set_config('lock_timeout', $1, false),
         pg_catalog.set_config('statement_timeout', '0', false),
         -- What is looked for along it would be bound to what stands before pg_catalog there.
         pg_catalog.set_config('search_path', 'pg_catalog', false),
         pg_catalog.set_config('default_transaction_isolation', 'read committed', false)`,
      [`${lockTimeoutMs}ms`],
    );
    return await bringUp(client, dir, lockTimeoutMs);
  } finally {
    await client.end();
  }
}

/** What is there already. */
interface Found {
  readonly has_schema: boolean;
  readonly encoding: string;
  /** Names of the migrations that were applied; null: none ever was, or this role may not read them. */
  readonly applied: string[] | null;
  /** undefined: there is none, or this role may not ask. */
  readonly version: number | undefined;
}

/** Names of migrations. */
interface Changes {
  readonly adopted: readonly string[];
  readonly applied: readonly string[];
}

async function bringUp(client: pg.Client, dir: string, lockTimeoutMs: number): Promise<Changes> {
  const files = (await readdir(dir)).filter((file) => file.endsWith('.sql')).sort();
  const newest = numberOf(files.at(-1));
  const { encoding, version } = await look(client);
  if (encoding !== 'UTF8') {
    throw new LeaseholdError(
      'invalid_argument',
      `leasehold needs a database of encoding UTF8, this one has ${encoding}`,
      { hint: "Create one: create database … encoding 'UTF8' template template0." },
    );
  }
  if (version !== undefined && version > newest) throw schemaUnknown(version, [newest]);
  // A role that may only call finds that there is nothing to do.
  if (version === newest) return { adopted: [], applied: [] };

  // Waiting is bounded by lock_timeout like any other lock, and leads to another attempt as well.
  await client.query('select pg_advisory_lock($1)', [ADVISORY_LOCK]);
  const found = await look(client);
  let adopted: string[] = [];
  if (found.applied === null && found.version !== undefined) {
    const installed = files.filter((file) => numberOf(file) <= (found.version ?? 0));
    adopted = await run(client, dir, { fake: true, count: installed.length });
  }
  const done = new Set((await look(client)).applied);
  const pending = files.filter((file) => !done.has(file.replace(/\.sql$/, '')));
  if (pending.length === 0) return { adopted, applied: [] };

  // The runner's own begin changes nothing; its commit ends this.
  await client.query('begin');
  await lockTables(client, await namesIn(dir, pending), lockTimeoutMs);
  return {
    adopted,
    applied: await run(client, dir, { createMigrationsSchema: !found.has_schema }),
  };
}

async function look(client: pg.Client): Promise<Found> {
  const { rows } = await client.query<{
    has_schema: boolean;
    encoding: string;
    reads_applied: boolean;
    tells_version: boolean;
  }>(
    `select
       to_regnamespace('leasehold') is not null as has_schema,
       current_setting('server_encoding') as encoding,
       coalesce(
         has_schema_privilege(namespace.oid, 'usage')
           and has_table_privilege(to_regclass('leasehold.migration'), 'select'),
         false
       ) as reads_applied,
       coalesce(
         has_schema_privilege(namespace.oid, 'usage')
           and has_function_privilege(to_regprocedure('leasehold.schema_version()'), 'execute'),
         false
       ) as tells_version
     from (select to_regnamespace('leasehold')::oid as oid) as namespace`,
  );
  const [row] = rows;
  if (row === undefined) throw new Error('the database answered nothing');
  const { has_schema, encoding, reads_applied, tells_version } = row;
  const applied = reads_applied
    ? (await client.query<{ name: string }>('select name from leasehold.migration')).rows
    : undefined;
  const versions = tells_version
    ? (await client.query<{ version: number }>('select leasehold.schema_version() as version')).rows
    : [];
  return {
    has_schema,
    encoding,
    applied: applied?.map(({ name }) => name) ?? null,
    version: versions[0] && Number(versions[0].version),
  };
}

async function run(
  client: pg.Client,
  dir: string,
  options: { fake?: boolean; count?: number; createMigrationsSchema?: boolean },
): Promise<string[]> {
  // Imported late, since a program that only enqueues or works has no use for it.
  const { runner } = await import('node-pg-migrate');
  const applied = await runner({
    dbClient: client,
    dir,
    direction: 'up',
    singleTransaction: true,
    migrationsSchema: 'leasehold',
    migrationsTable: 'migration',
    // This session has it already.
    advisoryLockMode: 'wait',
    lockValue: ADVISORY_LOCK,
    logger: SILENT,
    ...options,
  });
  return applied.map((migration) => migration.name);
}

/** What migrations name in the part written by hand: tables, and more that is none. */
async function namesIn(dir: string, files: readonly string[]): Promise<string[]> {
  const texts = await Promise.all(files.map((file) => readFile(join(dir, file), 'utf8')));
  // What follows that line replaces functions, which locks no table.
  const heads = texts.flatMap((text) => text.split(/^\s*-- generated from sql\//m, 1));
  return heads.flatMap((head) =>
    [...head.matchAll(/\bleasehold\.(\w+)/g)].map(([, name = '']) => name),
  );
}

/**
 * Takes the locks of all these tables, and of those whose index is named, before anything else: leases first and
 * jobs last, as functions lock them, one after the other. While it holds one and waits for the
 * next, a call that holds the next may wait for it: the call would be ended as the victim of the deadlock a
 * deadlock_timeout after it began to wait, so all of this ends sooner than that. Later nothing waits.
 */
async function lockTables(
  client: pg.Client,
  names: readonly string[],
  lockTimeoutMs: number,
): Promise<void> {
  const { rows } = await client.query<{ name: string; deadlock_ms: number }>(
    `select
       relation.relname::text as name,
       extract(epoch from current_setting('deadlock_timeout')::interval)::float8 * 1000 as deadlock_ms
     from pg_class as relation
     where relation.relkind = 'r'
       and relation.oid in (
         select coalesce(index.indrelid, named.oid)
         from unnest($1::text[]) as wanted (name)
         cross join to_regclass('leasehold.' || wanted.name) as named (oid)
         left join pg_index as index on index.indexrelid = named.oid
       )
     order by relation.relname = 'job', relation.relname <> 'lease', relation.relname`,
    [names],
  );
  let endsAt: number | undefined;
  for (const { name, deadlock_ms } of rows) {
    const leftMs = endsAt === undefined ? lockTimeoutMs : endsAt - performance.now();
    const waitMs = Math.max(1, Math.min(leftMs, lockTimeoutMs));
    await client.query(`set local lock_timeout = '${Math.round(waitMs)}ms'`);
    await client.query(`lock table leasehold.${name} in access exclusive mode`);
    endsAt ??= performance.now() + deadlock_ms / 2;
  }
  await client.query(`set local lock_timeout = '${lockTimeoutMs}ms'`);
}

function numberOf(file: string | undefined): number {
  return Number.parseInt(file ?? '0', 10);
}

const SILENT = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

function givesWay(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && GIVES_WAY.includes(error.code);
}
