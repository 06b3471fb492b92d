import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Client, type EnqueueOptions, type Job } from '../../client/index.ts';
import { createDatabase, createServer } from '../support/database.ts';
import { startProxy } from '../support/proxy.ts';
import { Gate, startRecorded } from '../support/recorded.ts';
import { until } from '../support/wait.ts';

const PATIENCE = { timeout: 240_000 };
const leaseMs = 3000;

/** Works until it is told to stop the first time, and returns the second time. */
async function work(job: Job, { signal }: { signal: AbortSignal }): Promise<void> {
  if (job.attempt > 1) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
  throw signal.reason;
}

function connect(url: string): { pool: pg.Pool; client: Client } {
  const pool = new pg.Pool({ connectionString: url });
  pool.on('error', () => undefined);
  pool.on('connect', (connection) => connection.on('error', () => undefined));
  onTestFinished(() => pool.end());
  return { pool, client: new Client(pool) };
}

async function stateOf(client: Client, jobId: string): Promise<string> {
  return (await client.job(jobId)).state;
}

describe('a database that is away', PATIENCE, async () => {
  const server = await createServer();

  test('S15 a server that stands still for longer than every lease costs no job a loss', async () => {
    const { client } = connect(server.url);
    // A single loss would be the end.
    await client.createQueue('work', { maxLosses: 1 });
    const jobIds = await client.enqueueMany(
      'work',
      Array.from({ length: 4 }, () => ({ payload: null })),
    );
    const options = { connection: server.url, leaseMs, concurrency: 2, handlers: { work } };
    const schedulers = [await startRecorded(options), await startRecorded(options)];
    await until(() => schedulers.every(({ running }) => running === 2));

    const resume = await pause(server.pid);
    const pausedAt = performance.now();
    await until(() => schedulers.every((one) => one.eventsOf('job:lost').length === 2));
    await until(() => performance.now() - pausedAt > leaseMs);
    resume();

    for (const jobId of jobIds) {
      await until(async () => ['completed', 'dead'].includes(await stateOf(client, jobId)));
      const job = await client.job(jobId);
      expect(job).toMatchObject({ state: 'completed', losses: 0, failures: 0 });
      expect(job.history).toMatchObject([{ counted: false }]);
    }
  });

  test('S15 while all workers are cut off a verdict waits for them, whoever ticks', async () => {
    const url = await createDatabase();
    const { client } = connect(url);
    await client.createQueue('work', { maxLosses: 1 });
    const jobId = await client.enqueue('work', null);
    const proxy = await startProxy(url);
    onTestFinished(() => proxy.close());
    const worker = await startRecorded({ connection: proxy.url, leaseMs, handlers: { work } });
    await worker.event('job:started');

    proxy.cut();
    await until(async () => {
      await client.tick();
      return ((await client.job(jobId)).remainingMs ?? 0) < -2 * leaseMs;
    });
    expect(await stateOf(client, jobId)).toBe('leased');
    proxy.heal();
    await until(async () => {
      await client.tick();
      return (await client.job(jobId)).finishedAt !== undefined;
    });
    expect(await client.job(jobId)).toMatchObject({ state: 'completed', losses: 0 });
  });

  test('S15 a loss is taken back from the next holder when the worker is seen again', async () => {
    const url = await createDatabase();
    const { client } = connect(url);
    await client.createQueue('work');
    const jobId = await client.enqueue('work', null);
    const proxy = await startProxy(url);
    onTestFinished(() => proxy.close());
    const cutOff = await startRecorded({ connection: proxy.url, leaseMs, handlers: { work } });
    await cutOff.event('job:started');
    proxy.cut();
    const gate = new Gate();
    const other = await startRecorded({
      connection: url,
      leaseMs,
      handlers: { work: () => gate.pass() },
    });
    await other.event('job:started');
    expect(await client.job(jobId)).toMatchObject({ state: 'leased', attempt: 2, losses: 1 });

    proxy.heal();
    await until(async () => (await client.job(jobId)).losses === 0);
    gate.open();
    await other.settled(jobId, 2);
    const job = await client.job(jobId);
    expect(job).toMatchObject({ state: 'completed', attempt: 2, losses: 0 });
    expect(job.history).toMatchObject([{ outcome: 'expired', counted: false }]);
  });

  test('S15 what was given up is handed back at once, though nobody had taken it', async () => {
    const url = await createDatabase();
    const { client } = connect(url);
    await client.createQueue('work');
    const jobId = await client.enqueue('work', null);
    const proxy = await startProxy(url);
    onTestFinished(() => proxy.close());
    const worker = await startRecorded({
      connection: proxy.url,
      leaseMs,
      maintenanceMs: 0,
      handlers: { work },
    });
    await worker.event('job:started');
    proxy.cut();
    await worker.event('job:lost');
    proxy.heal();
    // Nobody reaps.
    await worker.settled(jobId, 2);
    const job = await client.job(jobId);
    expect(job).toMatchObject({ state: 'completed', attempt: 2, losses: 0, releases: 1 });
    expect(worker.eventsOf('outcome:refused')).toEqual([]);
  });

  test.each(['+ 1 h', '- 1 h'])(
    'S16 a clock that is set by %s doubles no run and counts no loss',
    async (step) => {
      const url = await createDatabase();
      const { pool, client } = connect(url);
      await client.createQueue('work', { maxLosses: 1 });
      const gate = new Gate();
      const worker = await startRecorded({
        connection: url,
        leaseMs,
        concurrency: 5,
        handlers: { work: () => gate.pass() },
      });
      const jobIds = await client.enqueueMany(
        'work',
        Array.from({ length: 5 }, () => ({ payload: null })),
      );
      await until(() => gate.reached === 5);
      const [sign, ...span] = step;
      await pool.query(
        `create or replace function leasehold._now() returns timestamptz language sql volatile parallel safe
         return pg_catalog.clock_timestamp() ${sign} interval '${span.join('')}'`,
      );
      // For one more length, and a heartbeat of each after that.
      const { rows } = await pool.query(`select leasehold._now() + interval '1 ms' * $1 as at`, [
        leaseMs,
      ]);
      await until(async () => {
        const { rowCount } = await pool.query(
          'select from leasehold.lease where heartbeat_at > $1 and heartbeat_at <= leasehold._now()',
          [rows[0].at],
        );
        return rowCount === 5 || gate.reached > 5;
      });
      expect(gate.reached).toBe(5);
      gate.open();
      for (const jobId of jobIds) {
        await worker.settled(jobId);
        expect(await client.job(jobId)).toMatchObject({
          state: 'completed',
          attempt: 1,
          losses: 0,
        });
      }
      expect(worker.eventsOf('job:lost')).toEqual([]);
    },
  );
});

describe.concurrent('innocents', PATIENCE, () => {
  const poison = { payload: 'poison', maxLosses: 1 } as const;

  test('S11 a job that kills its process takes none of five long neighbours with it', async () => {
    const jobs = [500, 500, poison.payload, 500, 500, 500].map((payload) =>
      payload === 'poison' ? poison : { payload },
    );
    const { client, jobIds } = await runUntilDone(jobs, { leaseMs: 2000, concurrency: 6 });
    await expectOnlyPoisonDead(client, jobIds);
  });

  test('S11 nor of three hundred that are done in no time, most of them never begun', async () => {
    const jobs: (EnqueueOptions & { payload: unknown })[] = Array.from({ length: 300 }, () => ({
      payload: 0,
    }));
    jobs[150] = poison;
    const { client, jobIds } = await runUntilDone(jobs, { leaseMs: 2000, concurrency: 10 });
    await expectOnlyPoisonDead(client, jobIds);
  });

  /** Starts a worker, and another when it has died, until no job is left. */
  async function runUntilDone(
    jobs: readonly (EnqueueOptions & { payload: unknown })[],
    options: object,
  ): Promise<{ client: Client; jobIds: string[] }> {
    const url = await createDatabase();
    const { client } = connect(url);
    await client.createQueue('work', { maxLosses: 2 });
    const jobIds = await client.enqueueMany('work', jobs);
    let worker: ChildProcess | undefined;
    let over = false;
    onTestFinished(() => {
      worker?.kill('SIGKILL');
    });
    const boots = (async () => {
      while (!over) {
        worker = spawn(
          process.execPath,
          [
            '--import',
            'tsx',
            fileURLToPath(new URL('../support/poisoned.ts', import.meta.url)),
            url,
            JSON.stringify(options),
          ],
          { stdio: ['pipe', 'inherit', 'inherit'] },
        );
        await once(worker, 'exit');
      }
    })();
    await until(async () => {
      const [stats] = await client.queueStats('work');
      return (stats?.completed ?? 0) + (stats?.dead ?? 0) === jobs.length;
    });
    over = true;
    worker?.kill('SIGKILL');
    await boots;
    return { client, jobIds };
  }

  async function expectOnlyPoisonDead(client: Client, jobIds: readonly string[]): Promise<void> {
    for (const jobId of jobIds) {
      const job = await client.job(jobId);
      if (job.payload === 'poison') {
        expect(job).toMatchObject({ state: 'dead', reason: 'lease_expired' });
      } else {
        expect(job.state).toBe('completed');
        expect(job.losses).toBeLessThanOrEqual(1);
      }
    }
  }
});

/** Stops a server and all its backends as they are, as a machine does that is paused; answers how to go on. */
async function pause(postmaster: number | undefined): Promise<() => void> {
  const pids = [Number(postmaster)];
  process.kill(Number(postmaster), 'SIGSTOP');
  const children = await readFile(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8');
  for (const pid of children.trim().split(' ').map(Number)) {
    process.kill(pid, 'SIGSTOP');
    pids.push(pid);
  }
  const resume = (): void => {
    for (const pid of pids.splice(0).reverse()) process.kill(pid, 'SIGCONT');
  };
  onTestFinished(resume);
  return resume;
}
