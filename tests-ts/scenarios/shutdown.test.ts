import { describe, expect } from 'vitest';
import { scenario } from '../support/scenario.ts';
import { until } from '../support/wait.ts';

/** What a bound of a scenario may be exceeded by on a machine that is busy with other things. */
const ROOM_MS = 10_000;
const PATIENCE = { timeout: 240_000 };

describe.concurrent('shutdown', PATIENCE, () => {
  scenario('C60 a worker that stops keeps the lease of the job it finishes', async ({ s }) => {
    const leaseMs = 3000;
    const worker = await s.worker({ name: 'first', graceMs: 60_000, options: { leaseMs } });
    const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 3 * leaseMs });
    await worker.event('handler:started');
    const other = await s.worker({ name: 'other', options: { leaseMs } });
    worker.kill('SIGTERM');

    const settled = await worker.event('job:settled');
    expect(settled.event).toMatchObject({ status: 'completed', late: false });
    expect(await worker.exited).toBe(0);
    expect(worker.events('stopped')).toEqual([{ type: 'stopped', stuck: [], undelivered: [] }]);
    expect(worker.events('job:aborted')).toEqual([]);
    expect(await s.client.job(jobId)).toMatchObject({ state: 'completed', attempt: 1, losses: 0 });
    expect(await s.invocations(jobId)).toHaveLength(1);
    expect(other.events('job:started')).toEqual([]);
  });

  scenario('C60 a worker that stops leases nothing any more', async ({ s }) => {
    const worker = await s.worker({ graceMs: 60_000, options: { leaseMs: 6000, pollMs: 50 } });
    const last = await s.client.enqueue('work', { do: 'sleep', ms: 2000 });
    await worker.event('handler:started');
    worker.kill('SIGTERM');
    await worker.event('stopping');
    // A lease_jobs call that was under way may still find it, and then hands it back.
    const late = await s.client.enqueue('work', { do: 'return' });
    expect(await worker.exited).toBe(0);
    expect(await s.client.job(last)).toMatchObject({ state: 'completed' });
    expect(await s.client.job(late)).toMatchObject({ state: 'ready', failures: 0, losses: 0 });
    expect(await s.invocations(late)).toEqual([]);
  });

  scenario(
    'C61 what a worker cannot finish in its grace another starts at once, not after the lease',
    async ({ s }) => {
      const leaseMs = 600_000;
      const worker = await s.worker({ name: 'first', graceMs: 500, options: { leaseMs } });
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [
          { do: 'offer-checkpoints', steps: 3, next: { do: 'sleep', ms: 600_000 } },
          { do: 'return' },
        ],
      });
      await worker.event('handler:started');
      const other = await s.worker({ name: 'other', options: { leaseMs } });
      const askedAt = Date.now();
      worker.kill('SIGTERM');

      const aborted = await worker.event('handler:aborted');
      expect(aborted.event.reason).toBe('shutdown');
      expect(aborted.at - askedAt).toBeGreaterThanOrEqual(500);
      const released = await worker.event('job:settled');
      expect(released.event.status).toBe('released');
      const started = await other.event('handler:started');
      expect(started.at - released.at).toBeLessThan(1000 + ROOM_MS);
      await other.event('job:settled', ({ status }) => status === 'completed');
      expect(await worker.exited).toBe(0);
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 2,
        releases: 1,
        failures: 0,
        losses: 0,
        result: { by: 'other', resumedFrom: 3 },
      });
    },
  );

  scenario(
    'C62 jobs that come while a worker stops are released at once, unstarted and uncounted',
    async ({ s }) => {
      const proxy = await s.proxy();
      // The database has leased them, and the answer is on its way. The first call counts too: it may
      // be under way still when the jobs are there.
      const fault = proxy.plant({
        sql: 'leasehold.lease_jobs(',
        at: 'before-reply',
        deed: { delayMs: 3000 },
        times: 100,
      });
      const worker = await s.worker({
        name: 'first',
        url: proxy.url,
        graceMs: 60_000,
        options: { leaseMs: 60_000, pollMs: 100, concurrency: 5 },
      });
      const jobIds = await s.client.enqueueMany(
        'work',
        Array.from({ length: 5 }, () => ({ payload: { do: 'return' } as const })),
      );
      await until(async () => (await s.client.queueStats('work'))[0]?.leased === 5);
      worker.kill('SIGTERM');
      const other = await s.worker({ name: 'other', options: { concurrency: 5 } });

      await until(() => other.events('job:settled').length === 5);
      expect(await worker.exited).toBe(0);
      expect(fault.fired).toBeGreaterThan(0);
      expect(worker.events('handler:started')).toEqual([]);
      for (const jobId of jobIds) {
        expect(await s.client.job(jobId)).toMatchObject({
          state: 'completed',
          attempt: 2,
          releases: 1,
          failures: 0,
          losses: 0,
          result: { by: 'other' },
        });
      }
    },
  );

  scenario(
    'C63 a handler that ignores its signal is named by stop, and its job left to expire',
    async ({ s }) => {
      const worker = await s.worker({
        name: 'first',
        graceMs: 100,
        options: { leaseMs: 6000, cancelGraceMs: 500 },
      });
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [{ do: 'ignore-abort', ms: 600_000 }, { do: 'return' }],
      });
      await worker.event('handler:started');
      worker.kill('SIGTERM');
      const stuck = await worker.event('job:stuck');
      expect(stuck.event).toMatchObject({ jobId, attempt: 1, reason: 'shutdown' });
      const stopped = await worker.event('stopped');
      expect(stopped.event.stuck).toEqual([{ jobId, queue: 'work', attempt: 1 }]);
      expect(worker.events('job:settled')).toMatchObject([{ jobId, status: 'unknown' }]);
      expect(await s.client.job(jobId)).toMatchObject({ state: 'leased', attempt: 1 });

      const other = await s.worker({ name: 'other' });
      const started = await other.event('handler:started');
      expect(started.event).toMatchObject({ jobId, attempt: 2 });
      await other.event('job:settled');
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        releases: 0,
        losses: 1,
        result: { by: 'other' },
      });
    },
  );

  scenario(
    'C63 a job whose handler ignores its signal is released where that is configured',
    async ({ s }) => {
      const worker = await s.worker({
        name: 'first',
        graceMs: 100,
        options: { leaseMs: 600_000, cancelGraceMs: 500, releaseStuck: true },
      });
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [{ do: 'ignore-abort', ms: 600_000 }, { do: 'return' }],
      });
      await worker.event('handler:started');
      worker.kill('SIGTERM');
      const stopped = await worker.event('stopped');
      expect(stopped.event.stuck).toEqual([{ jobId, queue: 'work', attempt: 1 }]);
      expect(worker.events('job:settled')).toMatchObject([{ jobId, status: 'released' }]);

      const other = await s.worker({ name: 'other' });
      await other.event('job:settled');
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 2,
        releases: 1,
        losses: 0,
      });
    },
  );

  scenario('C63 the slot of a stuck handler is not used again', async ({ s }) => {
    const worker = await s.worker({
      options: { leaseMs: 60_000, concurrency: 2, cancelGraceMs: 300, pollMs: 100 },
    });
    const stuckId = await s.client.enqueue('work', { do: 'ignore-abort', ms: 600_000 });
    await worker.event('handler:started');
    await s.client.cancel(stuckId);
    const stuck = await worker.event('job:stuck');
    expect(stuck.event).toMatchObject({ jobId: stuckId, reason: 'cancelled' });
    await worker.event('job:settled', ({ status }) => status === 'cancelled');
    expect(await s.client.job(stuckId)).toMatchObject({ state: 'cancelled' });

    // Of two slots one is left: these run one after the other.
    await s.client.enqueueMany(
      'work',
      Array.from({ length: 4 }, () => ({ payload: { do: 'sleep', ms: 100 } as const })),
    );
    await until(() => worker.events('job:settled').length === 5);
    const runs = (await s.invocations()).filter(({ jobId }) => jobId !== stuckId);
    expect(runs).toHaveLength(4);
    for (const [index, run] of runs.entries()) {
      const before = runs[index - 1]?.endedAt ?? new Date(0);
      expect(run.startedAt.getTime()).toBeGreaterThanOrEqual(before.getTime());
    }
  });

  scenario('C64 an idle worker ends by itself after stop', async ({ s }) => {
    const worker = await s.worker();
    await worker.event('listener:connected');
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    expect(worker.events('worker:stopped')).toHaveLength(1);
    expect(await s.client.queueStats('work')).toMatchObject([{ workers: 0 }]);
  });

  scenario('C64 a worker ends by itself after stop, though nothing answers it', async ({ s }) => {
    const proxy = await s.proxy();
    const worker = await s.worker({
      url: proxy.url,
      graceMs: 0,
      options: { leaseMs: 60_000 },
    });
    await s.client.enqueue('work', { do: 'sleep', ms: 600_000 });
    await worker.event('handler:started');
    await worker.event('listener:connected');
    await until(() => proxy.connections().length === 3);
    expect(proxy.blackHole()).toBe(3);
    const askedAt = Date.now();
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    expect(Date.now() - askedAt).toBeLessThan(2000 + ROOM_MS);
  });
});
