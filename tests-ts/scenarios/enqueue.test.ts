import pg from 'pg';
import { describe, expect } from 'vitest';
import { type Scenario, scenario } from '../support/scenario.ts';
import { until, untilBlocked } from '../support/wait.ts';
import { setWaiting } from '../support/waiting.ts';

const WORKER = '33333333-3333-4333-8333-333333333333';
/** What a bound of a scenario may be exceeded by on a machine that is busy with other things. */
const ROOM_MS = 10_000;
const payload = { do: 'return' } as const;

describe.concurrent('enqueue, schedule and time to live', () => {
  scenario('C90 a dedup key names one job, also after it has completed', async ({ s }) => {
    const options = { dedupKey: 'report', dedupWindowMs: 3_600_000 };
    const jobId = await s.client.enqueue('work', payload, options);
    expect(await s.client.enqueue('work', payload, options)).toBe(jobId);

    const [lease] = await s.client.leaseJobs(['work'], { workerId: WORKER });
    await s.client.complete(jobId, lease?.token ?? '');
    expect(await s.client.enqueue('work', payload, options)).toBe(jobId);
    expect((await s.client.queueStats('work'))[0]).toMatchObject({ ready: 0, completed: 1 });

    // Past its window the key is free.
    await s.pool.query(
      "update leasehold.dedup set expires_at = clock_timestamp() - interval '1 ms'",
    );
    const next = await s.client.enqueue('work', payload, options);
    expect(next).not.toBe(jobId);
    expect((await s.client.queueStats('work'))[0]).toMatchObject({ ready: 1, completed: 1 });
  });

  scenario('C90 an enqueue whose reply was lost is one job when it is repeated', async ({ s }) => {
    const proxy = await s.proxy();
    const fault = proxy.plant({ sql: 'leasehold.enqueue', at: 'before-reply', deed: 'rst' });
    const cut = new pg.Client({ connectionString: proxy.url });
    cut.on('error', () => undefined);
    await cut.connect();
    const call = 'select leasehold.enqueue($1, $2, p_dedup_key => $3) as id';
    await expect(cut.query(call, ['work', payload, 'order-1'])).rejects.toThrow();
    await cut.end().catch(() => undefined);
    expect(fault.fired).toBe(1);

    const repeated = await s.client.enqueue('work', payload, { dedupKey: 'order-1' });
    const jobs = await s.client.peek('work');
    expect(jobs.map((job) => job.jobId)).toEqual([repeated]);
  });

  scenario('C90 two enqueues of one key at once are one job', async ({ s }) => {
    const first = await connected(s);
    const second = await connected(s);
    const call = 'select leasehold.enqueue($1, $2, p_dedup_key => $3) as id';
    await first.query('begin');
    const one = await first.query(call, ['work', payload, 'twice']);
    const waiting = second.query(call, ['work', payload, 'twice']);
    const observer = await s.pool.connect();
    await untilBlocked(observer, { applicationName: 'scenario' });
    observer.release();
    await first.query('commit');
    expect((await waiting).rows).toEqual(one.rows);
    await Promise.all([first.end(), second.end()]);
  });

  scenario('C91 an enqueue that is rolled back leaves no job and wakes nobody', async ({ s }) => {
    const sleeper = await connected(s);
    const heard: (string | undefined)[] = [];
    sleeper.on('notification', (message) => heard.push(message.payload));
    await sleeper.query('listen leasehold');
    await setWaiting(sleeper, ['work'], 'told');

    const producer = await connected(s);
    await producer.query('begin');
    const jobId = await s.client.using(producer).enqueue('work', payload);
    await producer.query('rollback');
    await expect(s.client.job(jobId)).rejects.toMatchObject({ code: 'job_not_found' });

    // Notifications come in the order of their commits: one of the job would be there first.
    await producer.query("notify leasehold, 'end'");
    await until(() => heard.includes('end'));
    expect(heard).toEqual(['end']);
    await Promise.all([sleeper.end(), producer.end()]);
  });

  scenario(
    'C92 a job that failed with a delay runs when that is over, not before',
    async ({ s }) => {
      const worker = await s.worker();
      const retryInMs = 1500;
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [{ do: 'fail', retryInMs }, { do: 'return' }],
      });
      await worker.event('job:settled', (event) => event.status === 'completed');

      // Both instants are the database's.
      const job = await s.client.job(jobId);
      const failedAt = Number(job.history[0]?.endedAt);
      const waitedMs = Number(job.leasedAt) - failedAt;
      expect(waitedMs).toBeGreaterThanOrEqual(retryInMs - 1);
      expect(waitedMs).toBeLessThan(retryInMs + ROOM_MS);
      expect(await s.invocations(jobId)).toHaveLength(2);
    },
  );

  scenario('C93 a retry of a job does not trip over its own dedup key', async ({ s }) => {
    const worker = await s.worker();
    const jobId = await s.client.enqueue(
      'work',
      { do: 'by-attempt', attempts: [{ do: 'fail', retryInMs: 0 }, { do: 'return' }] },
      { dedupKey: 'once' },
    );
    await worker.event('job:settled', (event) => event.status === 'completed');
    expect(await s.client.job(jobId)).toMatchObject({ attempt: 2, failures: 1, dedupKey: 'once' });
    expect(await s.client.enqueue('work', payload, { dedupKey: 'once' })).toBe(jobId);
  });

  scenario('C95 a job that no worker takes in time is dead', async ({ s }) => {
    const jobId = await s.client.enqueue('work', payload, { timeToLiveMs: 1000 });
    await until(async () => (await s.client.reapExpired()) > 0);
    const job = await s.client.job(jobId);
    expect(job).toMatchObject({ state: 'dead', reason: 'ttl_expired', attempt: 0 });
    expect(Number(job.finishedAt)).toBeGreaterThanOrEqual(Number(job.enqueuedAt) + 1000);
    expect(await s.client.leaseJobs(['work'], { workerId: WORKER })).toEqual([]);
  });

  scenario(
    'C95 a job outlives its time to live once it has been leased, also if its lease expires',
    async ({ s }) => {
      const kept = await s.client.enqueue('work', payload, { timeToLiveMs: 1000 });
      const lapsed = await s.client.enqueue('work', payload, { timeToLiveMs: 1000 });
      const leases = await s.client.leaseJobs(['work'], {
        workerId: WORKER,
        limit: 2,
        leaseMs: 2000,
      });
      const lease = leases.find((job) => job.jobId === kept);
      await s.client.heartbeat(kept, lease?.token ?? '', { extendMs: 600_000 });

      await until(async () => {
        await s.client.reapExpired();
        return (await s.client.job(lapsed)).state !== 'leased';
      });
      expect(await s.client.job(lapsed)).toMatchObject({ state: 'ready', liveUntil: undefined });
      const job = await s.client.job(kept);
      expect(job.state).toBe('leased');
      expect(job.liveUntil).toBeUndefined();
      expect(await s.client.complete(kept, lease?.token ?? '')).toMatchObject({
        status: 'completed',
      });
    },
  );
});

async function connected(s: Scenario): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: s.url, application_name: 'scenario' });
  await client.connect();
  return client;
}
