import { describe, expect } from 'vitest';
import { scenario } from '../support/scenario.ts';
import { until } from '../support/wait.ts';

describe.concurrent('cancel and checkpoint', () => {
  scenario('C70 a running job is told of a cancel at once, and ends cancelled', async ({ s }) => {
    // Heartbeats come once a minute: what is faster than that was announced.
    const worker = await s.worker({ options: { leaseMs: 180_000 } });
    const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 600_000 });
    await worker.event('handler:started');
    const askedAt = Date.now();
    expect(await s.client.cancel(jobId, 'not needed')).toBe('requested');

    const aborted = await worker.event('handler:aborted');
    expect(aborted.event.reason).toBe('cancelled');
    expect(aborted.at - askedAt).toBeLessThan(15_000);
    const settled = await worker.event('job:settled');
    expect(settled.event.status).toBe('cancelled');
    const job = await s.client.job(jobId);
    expect(job).toMatchObject({
      state: 'cancelled',
      reason: 'not needed',
      failures: 0,
      attempt: 1,
    });
  });

  scenario(
    'C70 without notifications a cancel is learnt with the next heartbeat',
    async ({ s }) => {
      const worker = await s.worker({
        listenUrl: false,
        options: { leaseMs: 6000, heartbeatMs: 1000 },
      });
      const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 600_000 });
      await worker.event('handler:started');
      await s.client.cancel(jobId);
      const aborted = await worker.event('handler:aborted');
      expect(aborted.event.reason).toBe('cancelled');
      await worker.event('job:settled', (event) => event.status === 'cancelled');
    },
  );

  scenario(
    'C70 a job that completes before it stops for the cancel is completed',
    async ({ s }) => {
      const worker = await s.worker();
      const jobId = await s.client.enqueue('work', { do: 'return-on-abort' });
      await worker.event('handler:started');
      expect(await s.client.cancel(jobId)).toBe('requested');
      await worker.event('job:settled', (event) => event.status === 'completed');
      expect(await s.client.job(jobId)).toMatchObject({ state: 'completed', attempt: 1 });
      await expect(s.client.cancel(jobId)).rejects.toMatchObject({ code: 'job_finished' });
    },
  );

  scenario('C72 the last checkpoint is saved however the attempt ends', async ({ s }) => {
    // Checkpoints go no oftener than once in ten minutes: what is saved was saved with the ending.
    const options = { checkpointMs: 600_000, leaseMs: 180_000, concurrency: 5 };
    const worker = await s.worker({ options });
    // The first checkpoint of a process goes at once, and opens the interval.
    const opener = await s.client.enqueue('work', {
      do: 'offer-checkpoints',
      steps: 1,
      next: { do: 'return-on-abort' },
    });
    await until(async () => (await s.client.job(opener)).checkpoint !== undefined);

    const offered = (next: Parameters<typeof s.client.enqueue>[1]) =>
      s.client.enqueue('work', { do: 'offer-checkpoints', steps: 50, next }, { maxFailures: 1 });
    const completed = await offered({ do: 'return' });
    const failed = await offered({ do: 'fail' });
    const released = await offered({ do: 'release', delayMs: 600_000 });
    const aborted = await offered({ do: 'sleep', ms: 600_000 });
    await worker.event('handler:started', (event) => event.jobId === aborted);
    await s.client.cancel(aborted);

    for (const [jobId, state] of [
      [completed, 'completed'],
      [failed, 'dead'],
      [released, 'scheduled'],
      [aborted, 'cancelled'],
    ] as const) {
      await worker.event('job:settled', (event) => event.jobId === jobId);
      expect(await s.client.job(jobId)).toMatchObject({ state, checkpoint: { step: 50 } });
    }
  });
});
