import { randomBytes } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type EmbeddedServer, type ServerSettings, startEmbedded } from '../../client/embedded.ts';
import { installSql } from '../../scripts/manifest.ts';

/** The server that the databases of a test run live on. */
export interface TestServer {
  /** Connection string of a superuser. */
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Variables that change what the tests run on:
 *
 * - `DATABASE_URL`: a superuser on a server that is there already; only databases are made on it
 * - `LEASEHOLD_TEST_BINARIES`: folder with bin, lib and share of another PostgreSQL to start
 * - `LEASEHOLD_TEST_FSYNC=on`: wait for the disk as a real server does
 */
const ENV = {
  url: process.env.DATABASE_URL,
  binaries: process.env.LEASEHOLD_TEST_BINARIES,
  fsync: process.env.LEASEHOLD_TEST_FSYNC === 'on',
} as const;

export async function startTestServer(): Promise<TestServer> {
  if (ENV.url) return { url: ENV.url, stop: async () => undefined };
  return startTemporary({ fsync: ENV.fsync, full_page_writes: ENV.fsync });
}

/** A server of its own in a temporary folder, with the durability of a real one. */
export async function startTemporary(settings: ServerSettings = {}): Promise<EmbeddedServer> {
  return startEmbedded({
    dir: await mkdtemp(join(tmpdir(), 'leasehold-test-')),
    persistent: false,
    settings: { max_connections: 200, max_prepared_transactions: 0, ...settings },
    ...(ENV.binaries ? { binaries: ENV.binaries } : {}),
  });
}

/**
 * Makes a database with schema leasehold, to clone others from, and runs `scripts` in it as well.
 * Answers its name. It comes from the manifest, so that an edit in `sql/` is tested at once; the
 * drift test sees to it that the migrations lead to the same.
 */
export async function createTemplate(
  url: string,
  scripts: readonly string[] = [],
): Promise<string> {
  const name = await createEmptyDatabase(url);
  await withClient(databaseUrl(url, name), async (client) => {
    for (const script of [await installSql(), ...scripts]) await client.query(script);
  });
  return name;
}

export async function createEmptyDatabase(url: string): Promise<string> {
  return create(url, 'template0');
}

export async function cloneDatabase(url: string, template: string): Promise<string> {
  return create(url, template);
}

/**
 * Sessions that are just saying goodbye are waited for, by the server itself: one that is ended by force
 * then tells a pool that nobody listens to any more. What stays for five seconds is ended all the same.
 */
export async function dropDatabase(url: string, name: string): Promise<void> {
  await withClient(url, async (client) => {
    await client
      .query(`drop database if exists ${name}`)
      .catch(() => client.query(`drop database if exists ${name} with (force)`));
  });
}

/** The same server's connection string, to another database. */
export function databaseUrl(url: string, name: string): string {
  const other = new URL(url);
  other.pathname = `/${name}`;
  return other.href;
}

export async function withClient<T>(
  url: string,
  use: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

async function create(url: string, template: string): Promise<string> {
  const name = `leasehold_test_${randomBytes(6).toString('hex')}`;
  await withClient(url, (client) => client.query(`create database ${name} template ${template}`));
  return name;
}
