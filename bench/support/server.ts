import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type ServerSettings, startEmbedded } from '../../client/embedded.ts';
import { installSql } from '../../scripts/manifest.ts';

/**
 * The same for every side. Durable as a user runs it, with room enough that neither a checkpoint nor a
 * lack of buffers falls into one side's turn.
 */
const SETTINGS: ServerSettings = {
  fsync: 'on',
  synchronous_commit: 'on',
  shared_buffers: '1GB',
  max_wal_size: '16GB',
  min_wal_size: '2GB',
  checkpoint_timeout: '1h',
  max_connections: 500,
};

/** Read once: all databases of a run hold the same, also while somebody edits `sql/`. */
let installation: Promise<string> | undefined;

/** A PostgreSQL to measure on: an embedded one of this run alone, or that of DATABASE_URL. */
export class Server {
  readonly #url: string;
  readonly #stop: () => Promise<void>;

  private constructor(url: string, stop: () => Promise<void>) {
    this.#url = url;
    this.#stop = stop;
  }

  static async start(): Promise<Server> {
    const given = process.env.DATABASE_URL;
    if (given !== undefined) return new Server(given, async () => undefined);
    const dir = await mkdtemp(join(tmpdir(), 'leasehold-bench-'));
    const embedded = await startEmbedded({ dir, persistent: false, settings: SETTINGS });
    return new Server(embedded.url, async () => {
      await embedded.stop();
      await rm(dir, { recursive: true, force: true });
    });
  }

  /** An empty database with a name of its own. */
  async createDatabase(): Promise<Database> {
    const name = `leasehold_bench_${randomBytes(4).toString('hex')}`;
    await this.#asAdmin((client) => client.query(`create database ${name}`));
    const url = new URL(this.#url);
    url.pathname = `/${name}`;
    return new Database(url.href, () =>
      this.#asAdmin((client) => client.query(`drop database if exists ${name} with (force)`)),
    );
  }

  async stop(): Promise<void> {
    await this.#stop();
  }

  /** What a reader of the figures must know about the server. */
  async describe(): Promise<Record<string, string>> {
    return this.#asAdmin(async (client) => {
      const names = ['server_version', ...Object.keys(SETTINGS)];
      const { rows } = await client.query<{ name: string; value: string }>(
        `select name, pg_catalog.current_setting(name) as value
         from pg_catalog.unnest($1::text[]) as name`,
        [names],
      );
      return Object.fromEntries(rows.map((row) => [row.name, row.value]));
    });
  }

  async #asAdmin<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = await connect(this.#url);
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  }
}

/** A database with its connections; drop() closes and removes all of it. */
export class Database {
  readonly url: string;
  readonly #drop: () => Promise<unknown>;
  readonly #clients: pg.Client[] = [];

  constructor(url: string, drop: () => Promise<unknown>) {
    this.url = url;
    this.#drop = drop;
  }

  async connect(): Promise<pg.Client> {
    const client = await connect(this.url);
    this.#clients.push(client);
    return client;
  }

  /** Puts leasehold into the database, as `sql/` had it when the run began. */
  async install(): Promise<void> {
    installation ??= installSql();
    const client = await this.connect();
    await client.query(await installation);
  }

  async drop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.end()));
    await this.#drop();
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  // A lost connection is reported by the query it interrupts; without a listener it ends the process.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}
