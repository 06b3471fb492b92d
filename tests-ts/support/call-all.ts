import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { Client, type Queryable } from '../../client/index.ts';

/** Calls every method of a Client over a connection, and expects what each is for. */
export async function callAll(db: Queryable): Promise<void> {
  const called = new Set<string | symbol>();
  const client = new Proxy(new Client(db), {
    get: (target, name: keyof Client) => {
      called.add(name);
      const member = target[name];
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
  const queue = `a "queue", \\ ${randomUUID()}`;
  const workerId = randomUUID();
  await client.createQueue(queue, { leaseMs: 90_000, maxFailures: 1 });
  const runAt = new Date('2000-01-01T00:00:00.5Z');
  const ids = [
    await client.enqueue(queue, 1, { headers: { h: null }, runAt, dedupKey: 'null', priority: 3 }),
    ...(await client.enqueueMany(queue, [
      { payload: null },
      { payload: 2 },
      { payload: 3, timeToLiveMs: 86_400_000 },
    ])),
  ];
  const registered = await client.registerWorker(workerId, { queues: ['null', queue] });
  expect(registered).toEqual([undefined, expect.any(Number)]);
  const jobs = await client.leaseJobs([queue], { workerId, limit: 10, requestId: randomUUID() });
  expect(jobs.map((job) => [job.jobId, job.payload, job.remainingMs])).toEqual(
    ids.map((id, index) => [id, [1, undefined, 2, 3][index] ?? null, 90_000]),
  );
  expect(jobs[0]).toMatchObject({ headers: { h: null }, priority: 3, fence: expect.any(BigInt) });
  const [one, two, three, four] = jobs;
  if (!one || !two || !three || !four) throw new Error('four jobs were leased');

  const beats = await client.heartbeatMany([{ ...one, checkpoint: null }, two, three, four]);
  expect(beats.map(({ status }) => status)).toEqual(['ok', 'ok', 'ok', 'ok']);
  const [{ remainingMs = 0 } = {}] = beats;
  expect(remainingMs).toBeGreaterThan(60_000);
  expect(remainingMs).toBeLessThanOrEqual(90_000);
  await client.assertLease(one.jobId, one.token);
  const leased = await client.peek(queue, { state: 'leased' });
  expect(leased.map((info) => [info.workerId, info.leasedAt?.getFullYear()])).toEqual(
    leased.map(() => [workerId, new Date().getFullYear()]),
  );
  expect(await client.queueStats(queue)).toMatchObject([{ leased: 4, workers: 1 }]);

  const settlements = [
    ...(await client.completeMany([{ ...one, result: null }, two])),
    ...(await client.failMany([three])),
    ...(await client.releaseMany([{ ...four, delayMs: 3_600_000 }])),
  ];
  expect(settlements.map(({ status }) => status)).toEqual([
    'completed',
    'completed',
    'dead',
    'released',
  ]);
  const infos = await Promise.all(jobs.map(({ jobId }) => client.job(jobId)));
  expect(infos.map(({ state, result }) => [state, result])).toEqual([
    ['completed', null],
    ['completed', undefined],
    ['dead', undefined],
    ['scheduled', undefined],
  ]);
  expect(infos[2]?.history).toMatchObject([{ outcome: 'failed', error: undefined, workerId }]);
  const due = infos[3]?.runAt?.getTime() ?? 0;
  expect(due - Date.now()).toBeGreaterThan(3_000_000);
  expect(await client.redrive({ queue })).toEqual([three.jobId]);
  expect(await client.cancel(three.jobId, 'null')).toBe('cancelled');
  const { nextDueInMs = 0 } = await client.tick();
  expect(nextDueInMs).toBeGreaterThan(3_000_000);
  expect(await client.retireWorker(workerId)).toBe(true);

  const singles = await client.enqueueMany(
    queue,
    [1, 2, 3, 4, 5].map((payload) => ({ payload })),
  );
  const leases = await client.leaseJobs([queue], { workerId, limit: 5 });
  expect(leases.map(({ jobId }) => jobId)).toEqual(singles);
  const [done, failed, released, given, buried] = leases;
  if (!done || !failed || !released || !given || !buried) throw new Error('five were leased');
  const beat = await client.heartbeat(done.jobId, done.token, {
    extendMs: 120_000,
    checkpoint: { at: [1] },
  });
  expect(beat).toMatchObject({ jobId: done.jobId, status: 'ok', cancelRequested: false });
  expect(await client.complete(done.jobId, done.token, { order: 1 })).toMatchObject({
    status: 'completed',
  });
  expect(await client.fail(failed.jobId, failed.token, 'no', { retryable: false })).toMatchObject({
    status: 'dead',
  });
  expect(await client.release(released.jobId, released.token, { delayMs: 0 })).toMatchObject({
    status: 'released',
    retryInMs: 0,
  });
  expect(await client.deadLetter(given.jobId, given.token, 'null')).toMatchObject({
    status: 'dead',
  });
  expect(await client.deadLetterMany([buried])).toMatchObject([{ status: 'dead' }]);
  expect(await client.job(done.jobId)).toMatchObject({
    result: { order: 1 },
    checkpoint: { at: [1] },
  });
  await client.pauseQueue(queue);
  expect(await client.queueStats(queue)).toMatchObject([{ paused: true, ready: 1 }]);
  await client.resumeQueue(queue);
  expect(await client.promoteDue()).toBe(0);
  expect(await client.reapExpired()).toBe(0);
  expect(await client.prune()).toBe(0);
  expect(await client.purgeQueue(queue)).toBe(2);
  await client.dropQueue(queue);
  expect(await client.schemaVersion()).toBeGreaterThanOrEqual(await client.oldestClient());

  const methods = Object.getOwnPropertyNames(Client.prototype);
  // The first four are called by the others; the last is for one session, not for a pool.
  const besides = ['constructor', 'using', 'checkSchema', 'announce', 'setWaiting'];
  expect(methods.filter((name) => !called.has(name) && !besides.includes(name))).toEqual([]);
}
