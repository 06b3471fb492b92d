import pg from 'pg';
import { inject, test } from 'vitest';
import { Client } from '../../client/index.ts';
import type { Behaviour, Done } from './behaviours.ts';
import { createInvocations, type Invocation, invocations } from './invocations.ts';
import { type DatabaseProxy, startProxy } from './proxy.ts';
import { cloneDatabase, databaseUrl, dropDatabase } from './server.ts';
import { startWorker, type WorkerProcess, type WorkerSpec } from './worker-process.ts';

const STORY_LINES = 60;

/** The queues of the scenarios: their jobs say what is done with them. */
export type Queues = Record<string, { payload: Behaviour; result: Done }>;

export interface Scenario {
  /** A database of the test's own, with schema leasehold and the queue `work`. */
  readonly url: string;
  /** A pool on it, of a superuser. */
  readonly pool: pg.Pool;
  readonly client: Client<Queues>;
  /** A proxy before it, closed when the test ends. */
  proxy(): Promise<DatabaseProxy>;
  /** A worker process, ended when the test ends. Runs are written down past any proxy. */
  worker(spec?: Partial<WorkerSpec>): Promise<WorkerProcess>;
  /** Runs of handlers so far. */
  invocations(jobId?: string): Promise<Invocation[]>;
  /** How many sessions of an application the server still has. */
  sessions(applicationName: string): Promise<number>;
}

/** `test` with a {@link Scenario} of its own; may run beside others. */
export const scenario = test.extend<{ s: Scenario }>({
  s: async ({ task }, use) => {
    const { url: serverUrl, template } = inject('server');
    const name = await cloneDatabase(serverUrl, template);
    const made = new Made(databaseUrl(serverUrl, name));
    await createInvocations(made.url);
    await made.client.createQueue('work');
    await use(made);
    if (task.result?.state === 'fail') console.error(`${task.name}\n${made.story()}`);
    await made.end();
    await dropDatabase(serverUrl, name);
  },
});

/** The worker that starts a job first, and the others. */
export async function takenBy(
  jobId: string,
  ...workers: readonly WorkerProcess[]
): Promise<[WorkerProcess, ...WorkerProcess[]]> {
  const holder = await Promise.race(
    workers.map(async (worker) => {
      await worker.event('job:started', (event) => event.jobId === jobId);
      return worker;
    }),
  );
  return [holder, ...workers.filter((worker) => worker !== holder)];
}

class Made implements Scenario {
  readonly url: string;
  readonly pool: pg.Pool;
  readonly client: Client<Queues>;
  readonly #proxies: DatabaseProxy[] = [];
  readonly #workers: WorkerProcess[] = [];

  constructor(url: string) {
    this.url = url;
    this.pool = new pg.Pool({ connectionString: url, application_name: 'test' });
    this.pool.on('error', () => undefined);
    this.pool.on('connect', (connection) => connection.on('error', () => undefined));
    this.client = new Client<Queues>(this.pool);
  }

  async proxy(): Promise<DatabaseProxy> {
    const proxy = await startProxy(this.url);
    this.#proxies.push(proxy);
    return proxy;
  }

  async worker(spec: Partial<WorkerSpec> = {}): Promise<WorkerProcess> {
    const worker = await startWorker({ url: this.url, recordUrl: this.url, ...spec });
    this.#workers.push(worker);
    return worker;
  }

  invocations(jobId?: string): Promise<Invocation[]> {
    return invocations(this.url, jobId);
  }

  async sessions(applicationName: string): Promise<number> {
    const { rows } = await this.pool.query<{ count: number }>(
      `select count(*)::int4 as count from pg_stat_activity
       where application_name = $1 and datname = current_database()`,
      [applicationName],
    );
    return rows[0]?.count ?? Number.NaN;
  }

  /** What the workers reported, by time: for the log of a test that failed. */
  story(): string {
    return this.#workers
      .flatMap(({ name, reports }) => reports.map(({ at, event }) => ({ at, name, event })))
      .sort((one, other) => one.at - other.at)
      .slice(-STORY_LINES)
      .map(({ at, name, event }) => `${at % 1_000_000} ${name} ${JSON.stringify(event)}`)
      .join('\n');
  }

  async end(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.destroy()));
    await Promise.all(this.#proxies.map((proxy) => proxy.close()));
    // Not awaited: a test that failed may hold a connection, which ends with the database.
    void this.pool.end();
  }
}
