import pg from 'pg';
import { describe, expect } from 'vitest';
import { Client, Scheduler } from '../../client/index.ts';
import { createServer } from '../support/database.ts';
import { type Queues, scenario } from '../support/scenario.ts';
import { until } from '../support/wait.ts';

const server = await createServer();

/** What a bound of a scenario may be exceeded by on a machine that is busy with other things. */
const ROOM_MS = 10_000;
const PATIENCE = { timeout: 240_000 };

describe.concurrent('crash and poison', PATIENCE, () => {
  scenario(
    'C50 a worker that is killed loses its job to another, which resumes from its checkpoint',
    async ({ s }) => {
      const leaseMs = 3000;
      const first = await s.worker({ name: 'first', options: { leaseMs, checkpointMs: 100 } });
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [{ do: 'checkpoints', steps: 100_000, stepMs: 100 }, { do: 'return' }],
      });
      await first.event('handler:started');
      // It looks for jobs all the time that the first one has this one.
      const second = await s.worker({ name: 'second', options: { leaseMs } });
      await until(async () => stepOf((await s.client.job(jobId)).checkpoint) >= 2);
      expect(await s.invocations(jobId)).toHaveLength(1);

      first.kill('SIGKILL');
      expect(await first.exited).toBe('SIGKILL');
      const killedAt = Date.now();
      // A heartbeat that it had sent may still be under way in its session.
      await until(async () => (await s.sessions('first')) === 0);
      const { checkpoint } = await s.client.job(jobId);

      const taken = await second.event('handler:started');
      expect(taken.event).toMatchObject({ jobId, attempt: 2 });
      expect(taken.at - killedAt).toBeLessThan(leaseMs + 1000 + ROOM_MS);
      const settled = await second.event('job:settled');
      expect(settled.event).toMatchObject({ status: 'completed', late: false });
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 2,
        losses: 1,
        failures: 0,
        result: { by: 'second', attempt: 2, resumedFrom: stepOf(checkpoint) },
        history: [{ attempt: 1, outcome: 'expired', counted: true }],
      });
    },
  );

  scenario('C51 a job that kills every worker it meets is dead after three', async ({ s }) => {
    const options = { leaseMs: 1500 };
    // Of another queue: there is always somebody who sees that the database is not away.
    await s.client.createQueue('other');
    const witness = await s.worker({ name: 'witness', queues: ['other'] });
    const jobId = await s.client.enqueue('work', { do: 'crash' });
    const crashed: string[] = [];
    for (let n = 1; n <= 3; n++) {
      const victim = await s.worker({ name: `victim ${n}`, options });
      crashed.push(String(await victim.exited));
      await until(async () => (await s.client.job(jobId)).losses === n);
    }
    expect(crashed).toEqual(['SIGKILL', 'SIGKILL', 'SIGKILL']);
    await expectDeadOfCrashes(s.client, jobId);

    // The next worker finds other work, and not this.
    const survivor = await s.worker({ name: 'survivor', options });
    const healthy = await s.client.enqueue('work', { do: 'return' });
    await survivor.event('job:settled', (event) => event.jobId === healthy);
    expect(await s.invocations(jobId)).toHaveLength(3);
    expect(witness.events('job:started')).toEqual([]);
  });

  scenario(
    'C51 a job that kills the only worker each time is dead after three, too',
    async ({ s }) => {
      // With the worker everything has gone that is seen, as when the database was away.
      const options = { leaseMs: 1500 };
      const jobId = await s.client.enqueue('work', { do: 'crash' });
      for (let n = 1; n <= 3; n++) {
        const victim = await s.worker({ name: `victim ${n}`, options });
        expect(await victim.exited).toBe('SIGKILL');
      }
      const survivor = await s.worker({ name: 'survivor', options });
      await until(async () => (await s.client.job(jobId)).state === 'dead');
      await expectDeadOfCrashes(s.client, jobId);
      expect(await s.invocations(jobId)).toHaveLength(3);
      expect(survivor.events('job:started')).toEqual([]);
    },
  );

  scenario('C52 fifty deploys in the middle of a job cost it nothing', async ({ s }) => {
    const jobId = await s.client.enqueue('work', { do: 'return' });
    for (let deploy = 1; deploy <= 49; deploy++) {
      let started = 0;
      const scheduler = new Scheduler({
        connection: s.url,
        listenConnection: false,
        handlers: {
          work: async (_, { signal }) => {
            started++;
            await new Promise((resolve) => signal.addEventListener('abort', resolve));
            throw signal.reason;
          },
        },
      });
      await scheduler.start();
      await until(() => started === 1);
      expect(await scheduler.stop({ graceMs: 0 })).toEqual({ stuck: [], undelivered: [] });
    }
    expect(await s.client.job(jobId)).toMatchObject({
      state: 'ready',
      attempt: 49,
      releases: 49,
      failures: 0,
      losses: 0,
    });

    // The last one is a process, and its end is a signal.
    await s.pool.query(
      `update leasehold.job set payload = '{"do": "sleep", "ms": 600000}' where job_id = $1`,
      [jobId],
    );
    const last = await s.worker({ graceMs: 0 });
    await last.event('handler:started');
    last.kill('SIGTERM');
    expect(await last.exited).toBe(0);
    const job = await s.client.job(jobId);
    expect(job).toMatchObject({
      state: 'ready',
      attempt: 50,
      releases: 50,
      failures: 0,
      losses: 0,
    });
    expect(new Set(job.history.map(({ outcome, counted }) => `${outcome} ${counted}`))).toEqual(
      new Set(['released false']),
    );
  });

  scenario(
    'C56 a queue that nobody serves is left alone, and queue_stats shows it',
    async ({ s }) => {
      await s.client.createQueue('nobody');
      const lonely = await s.client.enqueue('nobody', { do: 'return' });
      const worker = await s.worker();
      for (let n = 0; n < 3; n++) {
        const served = await s.client.enqueue('work', { do: 'return' });
        await worker.event('job:settled', (event) => event.jobId === served);
      }
      expect(await s.client.queueStats('nobody')).toMatchObject([
        { ready: 1, leased: 0, completed: 0, workers: 0, oldestReadyAgeMs: expect.any(Number) },
      ]);
      const [nobody] = await s.client.queueStats('nobody');
      const { enqueuedAt } = await s.client.job(lonely);
      expect(nobody?.oldestReadyAgeMs).toBeGreaterThan(0);
      expect(nobody?.oldestReadyAgeMs).toBeLessThanOrEqual(Date.now() - enqueuedAt.getTime());
      expect(await s.client.queueStats('work')).toMatchObject([
        { ready: 0, completed: 3, workers: 1, oldestReadyAgeMs: undefined },
      ]);
      expect(await s.client.job(lonely)).toMatchObject({ state: 'ready', attempt: 0 });
    },
  );
});

describe.concurrent('outages', PATIENCE, () => {
  // Long enough for a busy machine: after an outage a worker has one length to be seen again.
  const leaseMs = 8000;
  const works = {
    do: 'by-attempt',
    attempts: [{ do: 'sleep', ms: 600_000 }, { do: 'return' }],
  } as const;

  scenario(
    'G8 a server that is down for longer than every lease costs no job a loss',
    async ({ s, onTestFinished }) => {
      const pool = new pg.Pool({ connectionString: server.url });
      pool.on('error', () => undefined);
      onTestFinished(() => pool.end());
      const client = new Client<Queues>(pool);
      // A single loss would be the end.
      await client.createQueue('outage', { maxLosses: 1, leaseMs });
      const jobIds = await client.enqueueMany(
        'outage',
        Array.from({ length: 6 }, () => ({ payload: works })),
      );
      const spec = { url: server.url, queues: ['outage'], options: { leaseMs, concurrency: 3 } };
      const workers = await Promise.all([
        s.worker({ ...spec, name: 'one' }),
        s.worker({ ...spec, name: 'two' }),
      ]);
      await until(async () => (await s.invocations()).length === 6);

      await server.down('immediate');
      await until(() => workers.flatMap((worker) => worker.events('job:lost')).length === 6);
      await server.up();
      await until(async () => {
        const [stats] = await client.queueStats('outage');
        return (stats?.completed ?? 0) + (stats?.dead ?? 0) === 6;
      });
      for (const jobId of jobIds) {
        const job = await client.job(jobId);
        expect(job).toMatchObject({ state: 'completed', attempt: 2, losses: 0, failures: 0 });
        expect(job.history).toMatchObject([{ attempt: 1, counted: false }]);
      }
      expect(await s.invocations()).toHaveLength(12);
    },
  );

  scenario(
    'G8 a database that no worker reaches for longer than every lease costs no job a loss',
    async ({ s }) => {
      await s.client.createQueue('work', { maxLosses: 1 });
      const jobIds = await s.client.enqueueMany(
        'work',
        Array.from({ length: 6 }, () => ({ payload: works })),
      );
      const proxy = await s.proxy();
      const spec = { url: proxy.url, options: { leaseMs, concurrency: 3 } };
      const workers = await Promise.all([
        s.worker({ ...spec, name: 'one' }),
        s.worker({ ...spec, name: 'two' }),
      ]);
      await until(async () => (await s.invocations()).length === 6);

      expect(proxy.cut()).toBeGreaterThanOrEqual(4);
      await until(() => workers.flatMap((worker) => worker.events('job:lost')).length === 6);
      await until(async () => {
        const leases = await Promise.all(jobIds.map((jobId) => s.client.job(jobId)));
        return leases.every(({ remainingMs = 0 }) => remainingMs < 0);
      });
      proxy.heal();
      await until(async () => {
        const [stats] = await s.client.queueStats('work');
        return (stats?.completed ?? 0) + (stats?.dead ?? 0) === 6;
      });
      for (const jobId of jobIds) {
        const job = await s.client.job(jobId);
        expect(job).toMatchObject({ state: 'completed', attempt: 2, losses: 0, failures: 0 });
        expect(job.history).toMatchObject([{ attempt: 1, counted: false }]);
      }
    },
  );

  scenario(
    'G8 a worker that is back hands back what it gave up, however late it is seen',
    async ({ s }) => {
      await s.client.createQueue('work', { maxLosses: 1 });
      const jobId = await s.client.enqueue('work', works);
      const proxy = await s.proxy();
      const worker = await s.worker({ url: proxy.url, options: { leaseMs, concurrency: 1 } });
      await worker.event('handler:started');

      proxy.cut();
      // By then the silence no longer speaks for the lease.
      await until(async () => ((await s.client.job(jobId)).remainingMs ?? 0) < -leaseMs);
      const late = proxy.plant({
        sql: 'register_worker(',
        at: 'before-query',
        deed: { delayMs: 1500 },
        times: Infinity,
      });
      proxy.heal();
      await until(async () => (await s.client.job(jobId)).finishedAt !== undefined);
      await late.struck;
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 2,
        losses: 0,
        failures: 0,
      });
    },
  );

  scenario(
    'G8 a worker that does not come back after an outage lost its jobs, the others did not',
    async ({ s }) => {
      const proxy = await s.proxy();
      const spec = { url: proxy.url, options: { leaseMs, concurrency: 1 } };
      const [one, two] = await Promise.all([
        s.worker({ ...spec, name: 'one' }),
        s.worker({ ...spec, name: 'two' }),
      ]);
      const jobIds = await s.client.enqueueMany('work', [{ payload: works }, { payload: works }]);
      await until(async () => (await s.invocations()).length === 2);
      const { event: ofOne } = await one.event('handler:started');

      proxy.cut();
      await Promise.all([one.event('job:lost'), two.event('job:lost')]);
      await one.destroy();
      // Handlers are told before their leases expire. Only a lease that has expired by the time
      // the worker is back lapsed in the outage.
      await until(async () => {
        const jobs = await Promise.all(jobIds.map((jobId) => s.client.job(jobId)));
        return jobs.every(({ remainingMs = 0 }) => remainingMs < 0);
      });
      proxy.heal();
      await until(async () => {
        const jobs = await Promise.all(jobIds.map((jobId) => s.client.job(jobId)));
        return jobs.every(({ state }) => state === 'completed');
      });
      for (const jobId of jobIds) {
        expect(await s.client.job(jobId)).toMatchObject({
          attempt: 2,
          losses: jobId === ofOne.jobId ? 1 : 0,
        });
      }
    },
  );
});

async function expectDeadOfCrashes(client: Client<Queues>, jobId: string): Promise<void> {
  expect(await client.job(jobId)).toMatchObject({
    state: 'dead',
    reason: 'lease_expired',
    attempt: 3,
    losses: 3,
    failures: 0,
    history: [
      { attempt: 1, outcome: 'expired', counted: true },
      { attempt: 2, outcome: 'expired', counted: true },
      { attempt: 3, outcome: 'expired', counted: true },
    ],
  });
}

function stepOf(checkpoint: unknown): number {
  return (checkpoint as { step?: number } | undefined)?.step ?? 0;
}
