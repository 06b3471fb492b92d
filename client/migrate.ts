import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
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

/** SQLSTATE lock_not_available: what a lock says when lock_timeout has passed. */
const LOCK_NOT_AVAILABLE = '55P03';

/** Any number, as long as an application's own node-pg-migrate has another. */
const ADVISORY_LOCK = 5_193_764_281;

/**
 * Brings schema `leasehold` to this package's version, in one transaction: all of it or nothing.
 *
 * Safe while workers run and safe to call from several processes at once. A lock that is not free
 * within `lockTimeoutMs` makes the whole migration step back and try again later, so that the work
 * queued behind its request goes on. Rejects with the database's error when that fails `maxAttempts`
 * times, or at once when anything else is wrong.
 */
export async function migrate(options: MigrateOptions): Promise<MigrateResult> {
  const { connection, dir = migrationsDir() } = options;
  const { lockTimeoutMs = DEFAULTS.lockTimeoutMs, maxAttempts = DEFAULTS.maxAttempts } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const applied = await tryOnce(connection, dir, lockTimeoutMs);
      for (const name of applied) options.onEvent?.({ type: 'migration:applied', name });
      return { applied };
    } catch (error) {
      if (!isLockNotAvailable(error) || attempt >= maxAttempts) throw error;
      const retryInMs = backoffMs(attempt);
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
): Promise<string[]> {
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
    return await apply(client, dir);
  } finally {
    await client.end();
  }
}

async function apply(client: pg.Client, dir: string): Promise<string[]> {
  // Imported late, since a program that only enqueues or works has no use for it.
  const { runner } = await import('node-pg-migrate');
  const applied = await runner({
    dbClient: client,
    dir,
    direction: 'up',
    singleTransaction: true,
    migrationsSchema: 'leasehold',
    createMigrationsSchema: true,
    migrationsTable: 'migration',
    // Waiting is bounded by lock_timeout like any other lock, and leads to another attempt as well.
    advisoryLockMode: 'wait',
    lockValue: ADVISORY_LOCK,
    logger: SILENT,
  });
  return applied.map((migration) => migration.name);
}

const SILENT = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Exponential, with the upper half left to chance so that several waiters do not meet again. */
function backoffMs(attempt: number): number {
  const ceiling = Math.min(BACKOFF_MS.first * 2 ** (attempt - 1), BACKOFF_MS.longest);
  return Math.round(ceiling * (0.5 + Math.random() / 2));
}

function isLockNotAvailable(error: unknown): error is pg.DatabaseError {
  return error instanceof pg.DatabaseError && error.code === LOCK_NOT_AVAILABLE;
}
