import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import { Client, LeaseholdError, type Queryable, SQLSTATES } from '../client/index.ts';
import { createDatabase, databaseUrl, withClient } from './support/database.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
afterAll(() => pool.end());
const client = new Client(pool);
const worker = randomUUID();
let queues = 0;

/** A queue of the test's own. */
async function createQueue(settings = {}): Promise<string> {
  const queue = `queue ${++queues}`;
  await client.createQueue(queue, settings);
  return queue;
}

/** The one job of a queue, leased. */
async function leaseOne(queue: string, workerId = worker) {
  const [job] = await client.leaseJobs([queue], { workerId });
  if (job === undefined) throw new Error(`${queue} has no job to lease`);
  return job;
}

async function enqueueAndLease(payload: unknown = {}, settings = {}) {
  const queue = await createQueue(settings);
  await client.enqueue(queue, payload);
  return leaseOne(queue);
}

test('Client has a method for every public function', async () => {
  const manifest = await readFile(new URL('../sql/install.sql', import.meta.url), 'utf8');
  const functions = [...manifest.matchAll(/functions\/(\w+)\.sql/g)].map(([, name = '']) =>
    name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
  );

  expect(functions.length).toBeGreaterThan(20);
  expect(Object.getOwnPropertyNames(Client.prototype)).toEqual(expect.arrayContaining(functions));
});

describe('queues', () => {
  test('createQueue sets what is named and leaves the rest', async () => {
    const queue = await createQueue({ leaseMs: 1500, maxFailures: 7 });
    await client.createQueue(queue, { backoffBaseMs: 250, backoffMaxMs: 750, keepDeadMs: 0 });

    const { rows } = await pool.query(
      `select lease_duration::text, max_failures, max_losses, backoff_base::text,
         backoff_max::text, keep_completed::text, keep_dead::text
       from leasehold.queue where name = $1`,
      [queue],
    );
    expect(rows).toEqual([
      {
        lease_duration: '00:00:01.5',
        max_failures: 7,
        max_losses: 3,
        backoff_base: '00:00:00.25',
        backoff_max: '00:00:00.75',
        keep_completed: '24:00:00',
        keep_dead: '00:00:00',
      },
    ]);
  });

  test('createQueue works for processes that start at once on a fresh database', async () => {
    for (let round = 0; round < 3; round++) {
      const fresh = new pg.Pool({ connectionString: await createDatabase(), max: 8 });
      const connections = await Promise.all(Array.from({ length: 8 }, () => fresh.connect()));
      const created = connections.map((connection, index) =>
        new Client(connection).createQueue(`queue ${index % 2}`),
      );
      expect(await Promise.all(created)).toHaveLength(8);
      for (const connection of connections) connection.release();
      expect(await new Client(fresh).queueStats()).toHaveLength(2);
      await fresh.end();
    }
  });

  test('a paused queue leases nothing until it is resumed', async () => {
    const queue = await createQueue();
    await client.enqueue(queue, 1);

    await client.pauseQueue(queue);
    expect(await client.leaseJobs([queue], { workerId: worker })).toEqual([]);
    await client.resumeQueue(queue);
    expect(await client.leaseJobs([queue], { workerId: worker })).toHaveLength(1);
  });

  test('purgeQueue removes up to its limit, and an empty queue can be dropped', async () => {
    const queue = await createQueue();
    await client.enqueueMany(queue, [{ payload: 1 }, { payload: 2 }, { payload: 3 }]);

    expect(await client.purgeQueue(queue, { limit: 2 })).toBe(2);
    expect(await client.purgeQueue(queue)).toBe(1);
    await client.dropQueue(queue);
    await expect(client.enqueue(queue, 1)).rejects.toMatchObject({ code: 'queue_not_found' });
  });

  test('queueStats counts the jobs of one queue by where they are', async () => {
    const queue = await createQueue();
    await client.enqueueMany(queue, [
      { payload: 1, priority: 0 },
      { payload: 2, priority: 1 },
      { payload: 3 },
      { payload: 4, delayMs: 60_000 },
    ]);
    const done = await leaseOne(queue);
    await client.complete(done.jobId, done.token);
    const gone = await leaseOne(queue);
    await client.deadLetter(gone.jobId, gone.token);

    const [stats, ...others] = await client.queueStats(queue);
    expect(others).toEqual([]);
    expect(stats).toEqual({
      queue,
      paused: false,
      scheduled: 1,
      ready: 1,
      blocked: 0,
      leased: 0,
      completed: 1,
      dead: 1,
      cancelled: 0,
      pruned: 0,
      oldestReadyAgeMs: expect.any(Number),
      workers: 0,
    });
    expect((await client.queueStats()).map((each) => each.queue)).toContain(queue);
  });
});

describe('produce', () => {
  test('enqueue stores everything that is said of a job', async () => {
    const queue = await createQueue();
    const payload = { text: 'grüße 🦋', list: [1, null, { deep: true }], empty: {} };
    const runAt = new Date('2100-01-01T00:00:00.123Z');
    const id = await client.enqueue(queue, payload, {
      priority: 2,
      runAt,
      dedupKey: 'once',
      headers: { trace: 'abc' },
      maxFailures: 4,
      maxLosses: 5,
      maxRuntimeMs: 6500,
      timeToLiveMs: 7500,
    });

    expect(id).toMatch(/^\d+$/);
    expect(await client.job(id)).toMatchObject({
      jobId: id,
      queue,
      state: 'scheduled',
      priority: 2,
      generation: expect.any(Number),
      payload,
      headers: { trace: 'abc' },
      dedupKey: 'once',
      runAt,
      liveUntil: new Date(runAt.getTime() + 7500),
      enqueuedAt: expect.any(Date),
      history: [],
    });
    const { rows } = await pool.query(
      'select max_failures, max_losses, max_runtime::text from leasehold.job where job_id = $1',
      [id],
    );
    expect(rows).toEqual([{ max_failures: 4, max_losses: 5, max_runtime: '00:00:06.5' }]);
  });

  test('enqueueMany answers the ids in the order of the jobs', async () => {
    const queue = await createQueue();
    const jobs = Array.from({ length: 50 }, (_, index) => ({
      payload: { index },
      priority: (index * 7) % 10,
      headers: { index },
    }));
    const ids = await client.enqueueMany(queue, jobs);

    const found = await Promise.all(ids.map((id) => client.job(id)));
    expect(found.map(({ payload, headers, priority }) => ({ payload, headers, priority }))).toEqual(
      jobs,
    );
  });

  test('enqueueMany takes the options of each job, and adds all or none', async () => {
    const queue = await createQueue();
    const runAt = new Date('2100-01-01T00:00:00.500Z');
    const [at, later, first, again] = await client.enqueueMany(queue, [
      { payload: 'at', runAt, timeToLiveMs: 1500 },
      { payload: 'later', delayMs: 3_600_000 },
      { payload: 'key', dedupKey: 'k', dedupWindowMs: 5000 },
      { payload: 'key again', dedupKey: 'k' },
    ]);
    expect(await client.job(at ?? '')).toMatchObject({
      runAt,
      liveUntil: new Date(runAt.getTime() + 1500),
    });
    expect(await client.job(later ?? '')).toMatchObject({ state: 'scheduled' });
    expect(again).toBe(first);

    await expect(
      client.enqueueMany(queue, [{ payload: 'fine' }, { payload: 'bad', priority: 10 }]),
    ).rejects.toMatchObject({ code: 'invalid_argument' });
    expect((await client.peek(queue)).map(({ payload }) => payload)).toEqual(['key']);
    expect(await client.enqueueMany(queue, [])).toEqual([]);
  });

  test('cancel says whether it cancelled, asked the holder, or came late', async () => {
    const queue = await createQueue();
    const waiting = await client.enqueue(queue, 1);
    expect(await client.cancel(waiting, 'changed my mind')).toBe('cancelled');
    expect(await client.cancel(waiting)).toBe('already_cancelled');
    expect(await client.job(waiting)).toMatchObject({
      state: 'cancelled',
      reason: 'changed my mind',
    });

    const { jobId, token } = await enqueueAndLease();
    expect(await client.cancel(jobId, 'stop it')).toBe('requested');
    expect(await client.heartbeat(jobId, token)).toMatchObject({
      status: 'ok',
      cancelRequested: true,
      cancelReason: 'stop it',
    });
  });
});

describe('work', () => {
  test('registerWorker answers the ids of queues, retireWorker only lets go who holds nothing', async () => {
    const queue = await createQueue();
    const workerId = randomUUID();
    const id = await client.enqueue(queue, {});
    const info = { queues: [queue, 'nowhere'], concurrency: 3, host: 'here', pid: 42 };
    expect(await client.registerWorker(workerId, info)).toEqual([expect.any(Number), undefined]);
    expect(await client.queueStats(queue)).toMatchObject([{ workers: 1 }]);

    const { token } = await leaseOne(queue, workerId);
    expect(await client.job(id)).toMatchObject({ workerId, host: 'here', pid: 42 });
    expect(await client.retireWorker(workerId)).toBe(false);
    await client.release(id, token);
    expect(await client.retireWorker(workerId)).toBe(true);
    expect(await client.queueStats(queue)).toMatchObject([{ workers: 0 }]);
  });

  test('leaseJobs hands out whole jobs, in order, and repeats itself for the same request', async () => {
    const queue = await createQueue({ leaseMs: 2500, maxRuntimeMs: 90_500 });
    await client.enqueue(queue, 'last', { priority: 9 });
    const first = await client.enqueue(queue, { n: 1 }, { priority: 0, headers: { a: 1 } });
    const request = { workerId: worker, limit: 5, requestId: randomUUID() };

    const jobs = await client.leaseJobs([queue], request);
    expect(jobs).toHaveLength(2);
    expect(jobs[0]).toEqual({
      jobId: first,
      token: expect.stringMatching(/^[0-9a-f-]{36}$/),
      queue,
      priority: 0,
      payload: { n: 1 },
      headers: { a: 1 },
      fence: expect.any(BigInt),
      attempt: 1,
      failures: 0,
      losses: 0,
      releases: 0,
      checkpoint: undefined,
      leaseMs: 2500,
      remainingMs: expect.any(Number),
      maxRuntimeMs: 90_500,
      enqueuedAt: expect.any(Date),
    });
    const again = await client.leaseJobs([queue], request);
    expect(again.map(({ token }) => token)).toEqual(jobs.map(({ token }) => token));
  });

  test('heartbeat renews, carries the checkpoint, and the next attempt finds it', async () => {
    const { queue, jobId, token } = await enqueueAndLease({}, { leaseMs: 5000 });
    const answer = await client.heartbeat(jobId, token, {
      extendMs: 60_000,
      checkpoint: { page: 3 },
    });
    expect(answer).toEqual({
      jobId,
      status: 'ok',
      remainingMs: expect.any(Number),
      cancelRequested: false,
      cancelReason: undefined,
    });
    expect(answer.remainingMs).toBeGreaterThan(50_000);

    await client.release(jobId, token);
    const next = await leaseOne(queue);
    expect(next).toMatchObject({ jobId, attempt: 2, releases: 1, checkpoint: { page: 3 } });
    expect(next.fence > 0n).toBe(true);
  });

  test('heartbeatMany judges each lease alone, in the order given', async () => {
    const [a, b] = [await enqueueAndLease(), await enqueueAndLease()];
    const answers = await client.heartbeatMany(
      [
        { jobId: b.jobId, token: b.token },
        { jobId: a.jobId, token: randomUUID() },
        { jobId: a.jobId, token: a.token, checkpoint: [1] },
      ],
      { extendMs: 90_000 },
    );

    expect(answers.map(({ jobId, status }) => [jobId, status])).toEqual([
      [b.jobId, 'ok'],
      [a.jobId, 'lost'],
      [a.jobId, 'ok'],
    ]);
    expect(answers[1]?.remainingMs).toBeUndefined();
    expect(await client.job(a.jobId)).toMatchObject({ checkpoint: [1] });
    expect((await client.job(b.jobId)).checkpoint).toBeUndefined();
    expect(await client.heartbeatMany([])).toEqual([]);
  });

  test('assertLease resolves for the holder and for nobody else', async () => {
    const { jobId, token } = await enqueueAndLease();
    await client.assertLease(jobId, token);
    await expect(client.assertLease(jobId, randomUUID())).rejects.toMatchObject({
      code: 'lease_lost',
    });
  });

  test('complete keeps the result, and answers the same when repeated', async () => {
    const { jobId, token } = await enqueueAndLease();
    const done = { jobId, status: 'completed', late: false, retryInMs: undefined };
    expect(await client.complete(jobId, token, { pages: 12 })).toEqual(done);
    expect(await client.complete(jobId, token, { pages: 0 })).toEqual({
      ...done,
      status: 'already_completed',
    });
    expect(await client.job(jobId)).toMatchObject({ state: 'completed', result: { pages: 12 } });
  });

  test('complete tells no result from a result of null', async () => {
    const [none, nothing] = [await enqueueAndLease(), await enqueueAndLease()];
    await client.complete(none.jobId, none.token);
    await client.complete(nothing.jobId, nothing.token, null);
    expect((await client.job(none.jobId)).result).toBeUndefined();
    expect((await client.job(nothing.jobId)).result).toBeNull();
  });

  test('completeMany answers each in the order given', async () => {
    const [a, b] = [await enqueueAndLease(), await enqueueAndLease()];
    const settlements = await client.completeMany([
      { jobId: b.jobId, token: b.token, result: 'b' },
      { jobId: a.jobId, token: randomUUID() },
      { jobId: '999999999999', token: randomUUID() },
    ]);
    expect(settlements.map(({ status }) => status)).toEqual([
      'completed',
      'lease_lost',
      'job_not_found',
    ]);
    expect(await client.job(b.jobId)).toMatchObject({ result: 'b' });
    expect(await client.job(a.jobId)).toMatchObject({ state: 'leased' });
  });

  test('fail retries after the delay, and not at all where that is said', async () => {
    const retried = await enqueueAndLease();
    expect(
      await client.fail(retried.jobId, retried.token, 'no luck', { retryInMs: 60_500 }),
    ).toEqual({
      jobId: retried.jobId,
      status: 'failed',
      late: false,
      retryInMs: expect.closeTo(60_500, -3),
    });
    expect(await client.job(retried.jobId)).toMatchObject({
      state: 'scheduled',
      failures: 1,
      history: [
        {
          attempt: 1,
          outcome: 'failed',
          counted: true,
          error: 'no luck',
          workerId: worker,
          leasedAt: expect.any(Date),
          endedAt: expect.any(Date),
        },
      ],
    });

    const hopeless = await enqueueAndLease();
    expect(
      await client.fail(hopeless.jobId, hopeless.token, 'never', { retryable: false }),
    ).toMatchObject({ status: 'dead', retryInMs: undefined });
  });

  test('failMany takes an error, a delay and a verdict for each', async () => {
    const [a, b, c] = [await enqueueAndLease(), await enqueueAndLease(), await enqueueAndLease()];
    const settlements = await client.failMany([
      { jobId: a.jobId, token: a.token, error: 'a', retryInMs: 0 },
      { jobId: b.jobId, token: b.token, retryable: false },
      { jobId: c.jobId, token: c.token, error: 'c', retryInMs: 5000 },
    ]);
    expect(settlements.map(({ status, retryInMs }) => [status, retryInMs])).toEqual([
      ['failed', 0],
      ['dead', undefined],
      ['failed', expect.closeTo(5000, -3)],
    ]);
    expect(await client.job(a.jobId)).toMatchObject({ state: 'ready', history: [{ error: 'a' }] });
    expect((await client.job(b.jobId)).history[0]?.error).toBeUndefined();
  });

  test('release hands a job back free of charge, deadLetter gives it up', async () => {
    const { queue, jobId, token } = await enqueueAndLease();
    expect(await client.release(jobId, token, { delayMs: 0 })).toMatchObject({
      status: 'released',
    });
    const again = await leaseOne(queue);
    expect(again).toMatchObject({ attempt: 2, failures: 0, losses: 0, releases: 1 });

    expect(await client.deadLetter(jobId, again.token, 'cannot be read')).toMatchObject({
      status: 'dead',
    });
    expect(await client.job(jobId)).toMatchObject({ state: 'dead', reason: 'cannot be read' });
  });
});

test('releaseMany hands jobs back free of charge, each with its own delay', async () => {
  const [a, b, c] = [await enqueueAndLease(), await enqueueAndLease(), await enqueueAndLease()];
  const settlements = await client.releaseMany([
    { jobId: c.jobId, token: c.token, delayMs: 5000 },
    { jobId: a.jobId, token: a.token },
    { jobId: b.jobId, token: c.token },
  ]);
  expect(settlements.map(({ status, retryInMs }) => [status, retryInMs])).toEqual([
    ['released', expect.closeTo(5000, -3)],
    ['released', 0],
    ['lease_lost', undefined],
  ]);
  expect(await client.job(a.jobId)).toMatchObject({ state: 'ready', releases: 1, failures: 0 });
});

describe('look, repair and maintain', () => {
  test('peek pages through a queue without touching it', async () => {
    const queue = await createQueue();
    const ids = await client.enqueueMany(
      queue,
      Array.from({ length: 5 }, (_, index) => ({ payload: index })),
    );
    const page = await client.peek(queue, { limit: 3 });
    const rest = await client.peek(queue, { state: 'ready', after: page[2]?.jobId ?? '' });
    expect([...page, ...rest].map(({ jobId }) => jobId)).toEqual(ids);
    expect(await client.peek(queue, { state: 'leased' })).toEqual([]);
  });

  test('job shows the holder of a lease', async () => {
    const { jobId } = await enqueueAndLease({}, { leaseMs: 30_000 });
    const info = await client.job(jobId);
    expect(info).toMatchObject({ state: 'leased', attempt: 1, workerId: worker });
    expect(info.remainingMs).toBeGreaterThan(0);
    expect(info.remainingMs).toBeLessThanOrEqual(30_000);
    expect(info.heartbeatAgeMs).toBeGreaterThanOrEqual(0);
    expect(info.leasedAt).toBeInstanceOf(Date);
  });

  test('redrive takes dead jobs back by id or by queue', async () => {
    const one = await enqueueAndLease();
    await client.deadLetter(one.jobId, one.token);
    const alive = await client.enqueue(one.queue, 'alive');
    expect(await client.redrive({ jobIds: [one.jobId, alive] })).toEqual([one.jobId]);
    expect(await client.redrive({ queue: one.queue })).toEqual([]);

    const again = await leaseOne(one.queue);
    expect(again).toMatchObject({ jobId: one.jobId, attempt: 2 });
    await client.deadLetter(again.jobId, again.token);
    expect(await client.redrive({ queue: one.queue }, { limit: 1 })).toEqual([one.jobId]);
  });

  test('promoteDue, reapExpired, prune and tick say how much they did', async () => {
    await client.tick();
    const queue = await createQueue({ leaseMs: 1000 });
    const due = await client.enqueue(queue, 'due', { delayMs: 60_000 });
    await client.enqueue(queue, 'lapsed');
    const lapsed = await leaseOne(queue);
    // Time is moved in the rows, so that nothing has to be waited for.
    await pool.query(
      `update leasehold.scheduled set run_at = now() - interval '1 second' where job_id = $1`,
      [due],
    );
    await pool.query(
      `update leasehold.lease
       set expires_at = now() - interval '1 hour', heartbeat_at = now() - interval '1 hour'
       where job_id = $1`,
      [lapsed.jobId],
    );

    expect(await client.promoteDue({ limit: 10 })).toBe(1);
    expect(await client.reapExpired({ limit: 10 })).toBe(1);
    expect((await client.peek(queue)).map(({ jobId }) => jobId)).toEqual([due, lapsed.jobId]);
    expect(await client.prune({ limit: 10 })).toBe(0);

    const later = await client.enqueue(queue, 'later', { delayMs: 120_000 });
    const answer = await client.tick();
    expect(answer).toEqual({
      promoted: 0,
      reaped: expect.any(Number),
      pruned: expect.any(Number),
      nextDueInMs: expect.any(Number),
      workers: expect.any(Number),
      failed: [],
    });
    expect(answer.nextDueInMs).toBeGreaterThan(0);
    await client.cancel(later);
  });

  test('schemaVersion is one that checkSchema knows', async () => {
    expect(await client.schemaVersion()).toBe(1);
    await expect(client.checkSchema()).resolves.toBeUndefined();
  });
});

describe('errors', () => {
  const inTransaction = (begin: string, call: (inside: Client) => Promise<unknown>) =>
    withClient(url, async (connection) => {
      await connection.query(begin);
      await call(client.using(connection));
    });

  const refused: [keyof typeof SQLSTATES, () => Promise<unknown>, string | undefined][] = [
    [
      'lease_lost',
      async () => client.complete((await enqueueAndLease()).jobId, randomUUID()),
      'another worker',
    ],
    ['job_not_found', () => client.job('999999999999'), 'retention'],
    [
      'job_cancelled',
      async () => {
        const { jobId, token } = await enqueueAndLease();
        await client.cancel(jobId);
        await client.fail(jobId, token, 'stopped');
        return client.complete(jobId, token);
      },
      undefined,
    ],
    [
      'job_finished',
      async () => {
        const { jobId, token } = await enqueueAndLease();
        await client.complete(jobId, token);
        return client.cancel(jobId);
      },
      'redrive',
    ],
    ['queue_not_found', () => client.enqueue('no such queue', {}), 'create_queue'],
    [
      'isolation_not_supported',
      () =>
        inTransaction('begin isolation level serializable', (inside) =>
          inside.leaseJobs(['queue 1'], { workerId: worker }),
        ),
      'read committed',
    ],
    [
      'read_only',
      () => inTransaction('begin read only', (inside) => inside.enqueue('queue 1', {})),
      undefined,
    ],
    [
      'payload_too_large',
      async () => client.enqueue(await createQueue({ maxPayloadBytes: 100 }), 'x'.repeat(99)),
      'reference',
    ],
    [
      'queue_not_empty',
      async () => client.dropQueue((await enqueueAndLease()).queue),
      'purge_queue',
    ],
    ['invalid_argument', async () => client.enqueue(await createQueue(), {}, { priority: 10 }), ''],
  ];

  test('every SQLSTATE of the registry has a case here', () => {
    expect(refused.map(([code]) => code).sort()).toEqual(Object.keys(SQLSTATES).sort());
  });

  test.each(refused)('%s comes as a LeaseholdError with its cause', async (code, call, hint) => {
    const error: unknown = await call().then(
      () => 'resolved',
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(LeaseholdError);
    expect(error).toMatchObject({
      name: 'LeaseholdError',
      code,
      sqlstate: SQLSTATES[code],
      cause: expect.any(pg.DatabaseError),
    });
    const { message, cause } = error as LeaseholdError & { cause: pg.DatabaseError };
    expect(message).toBe(cause.message);
    expect(message).not.toMatch(/\n|\.$|^[A-Z]/);
    if (hint) expect((error as LeaseholdError).hint).toContain(hint);
  });

  test('an error that is not leasehold’s passes through as the driver threw it', async () => {
    const absent = `leasehold_${randomUUID()}`;
    const wrong = new pg.Pool({ connectionString: databaseUrl(url, absent) });
    await expect(new Client(wrong).tick()).rejects.toMatchObject({
      constructor: pg.DatabaseError,
      code: '3D000',
    });
    await wrong.end();

    const nobody = new pg.Pool({ connectionString: 'postgres://postgres@127.0.0.1:1/postgres' });
    await expect(new Client(nobody).tick()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await nobody.end();
  });

  test('what is thrown by something that has query passes through untouched', async () => {
    const thrown = { not: 'an error' };
    const broken: Queryable = { query: () => Promise.reject(thrown) };
    await expect(new Client(broken).schemaVersion()).rejects.toBe(thrown);
  });

  test.each([
    ['leaseMs', () => client.createQueue('never', { leaseMs: Number.NaN })],
    ['delayMs', () => client.enqueue('queue 1', {}, { delayMs: Number.POSITIVE_INFINITY })],
    ['runAt', () => client.enqueue('queue 1', {}, { runAt: new Date(Number.NaN) })],
    ['limit', () => client.leaseJobs(['queue 1'], { workerId: worker, limit: 1.5 })],
  ])('%s that is no number is refused', async (_, call) => {
    await expect(call()).rejects.toThrow();
    expect((await client.queueStats()).map(({ queue }) => queue)).not.toContain('never');
  });
});

describe('connections', () => {
  test('a method works on a pool, on a client and on a pool’s client', async () => {
    const queue = await createQueue();
    await client.enqueue(queue, 'pool');
    await withClient(url, (connection) => new Client(connection).enqueue(queue, 'client'));
    const borrowed = await pool.connect();
    await client.using(borrowed).enqueue(queue, 'borrowed');
    borrowed.release();
    expect((await client.peek(queue)).map(({ payload }) => payload)).toEqual([
      'pool',
      'client',
      'borrowed',
    ]);
  });

  test('enqueue and complete join the caller’s transaction, and its rollback undoes both', async () => {
    const held = await enqueueAndLease();
    const queue = await createQueue();
    await withClient(url, async (connection) => {
      const inside = client.using(connection);
      await connection.query('begin');
      const id = await inside.enqueue(queue, 'undone');
      await inside.complete(held.jobId, held.token, 'undone');
      expect(await inside.job(id)).toMatchObject({ state: 'ready' });
      expect(await inside.job(held.jobId)).toMatchObject({ state: 'completed' });
      await expect(client.job(id)).rejects.toMatchObject({ code: 'job_not_found' });
      await connection.query('rollback');

      await expect(client.job(id)).rejects.toMatchObject({ code: 'job_not_found' });
      expect(await client.job(held.jobId)).toMatchObject({ state: 'leased' });

      await connection.query('begin');
      const next = await inside.enqueue(queue, 'done');
      await inside.complete(held.jobId, held.token, 'done');
      await connection.query('commit');
      expect(await client.job(next)).toMatchObject({ state: 'ready' });
      expect(await client.job(held.jobId)).toMatchObject({ state: 'completed', result: 'done' });
    });
  });

  test('enqueue joins a transaction of every isolation level', async () => {
    const queue = await createQueue();
    for (const level of ['repeatable read', 'serializable']) {
      await withClient(url, async (connection) => {
        await connection.query(`begin isolation level ${level}`);
        await client.using(connection).enqueue(queue, level);
        await connection.query('commit');
      });
    }
    expect((await client.peek(queue)).map(({ payload }) => payload)).toEqual([
      'repeatable read',
      'serializable',
    ]);
  });
});

describe('S32 enqueue refuses, one by one and many at once,', () => {
  test.each<[string, object]>([
    ['an invalid Date', { runAt: new Date('never') }],
    ['a Date that is a text', { runAt: 'tomorrow or so' }],
    ['a priority that is no number', { priority: Number.NaN }],
    ['a priority that is no whole number', { priority: 1.5 }],
    ['a priority out of its range', { priority: 10 }],
    ['an infinite delay', { delayMs: Infinity }],
    ['a delay that is no number', { delayMs: Number.NaN }],
    ['a window that is no number', { dedupKey: 'k', dedupWindowMs: Number.NaN }],
    ['infinitely many failures', { maxFailures: Infinity }],
    ['losses that are no number', { maxLosses: Number.NaN }],
    ['an infinite runtime', { maxRuntimeMs: -Infinity }],
    ['a time to live that is no number', { timeToLiveMs: Number.NaN }],
    ['an option that is misspelt', { dealyMs: 1000 }],
    ['an option of SQL', { run_at: new Date() }],
    ['an option that nobody knows, though it is undefined', { jobId: undefined }],
  ])('%s', async (_, options) => {
    const queue = await createQueue();
    const refusal = { name: 'LeaseholdError', code: 'invalid_argument' };
    await expect(client.enqueue(queue, 1, options)).rejects.toMatchObject(refusal);
    const jobs = [{ payload: 1 }, { payload: 2, ...options }];
    await expect(client.enqueueMany(queue, jobs)).rejects.toMatchObject(refusal);
    expect(await client.queueStats(queue)).toMatchObject([{ ready: 0, scheduled: 0 }]);
  });

  test.each([[null], [5], ['job'], [undefined]])('a job that is %j', async (job) => {
    const queue = await createQueue();
    await expect(client.enqueueMany(queue, [job as never])).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  test('an option that is misspelt, by its name; createQueue a setting', async () => {
    const queue = await createQueue();
    await expect(client.enqueue(queue, 1, { dealyMs: 1 } as object)).rejects.toThrow(
      /no option "dealyMs"; there are .*delayMs/,
    );
    await expect(client.createQueue(queue, { leasMs: 1 } as object)).rejects.toThrow(
      /no setting "leasMs"; there are leaseMs/,
    );
  });
});

describe('what JSON cannot say', () => {
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;

  test.each([
    ['a BigInt', 1n],
    ['a cycle', cyclic],
    [
      'a getter that throws',
      {
        get secret() {
          throw new RangeError('no');
        },
      },
    ],
    ['a NUL character', { text: 'a\0b' }],
    ['half a surrogate pair', ['\ud800']],
    ['what is no number', { deep: [1, { n: Number.NaN }] }],
    ['an infinite number', -Infinity],
    ['an invalid Date', { at: new Date('never') }],
    ['a function in an array', [() => 1]],
    ['a symbol', Symbol('s')],
  ])('S32 enqueue refuses %s with invalid_argument and adds nothing', async (_, payload) => {
    const queue = await createQueue();
    const refusal = { name: 'LeaseholdError', code: 'invalid_argument' };
    await expect(client.enqueue(queue, payload)).rejects.toMatchObject(refusal);
    await expect(
      client.enqueue(queue, 1, { headers: { list: [payload] } as never }),
    ).rejects.toMatchObject(refusal);
    for (const jobs of [
      [{ payload: 1 }, { payload }],
      [{ payload, priority: 1 }],
      [{ payload: 1, headers: { list: [payload] } as never }],
    ]) {
      await expect(client.enqueueMany(queue, jobs)).rejects.toMatchObject(refusal);
    }
    expect(await client.peek(queue)).toEqual([]);
  });

  test.each<[string, unknown, unknown]>([
    ['undefined', undefined, null],
    ['undefined members', { a: undefined, b: [undefined] }, { b: [null] }],
    ['a Date', new Date('2024-02-29T12:00:00Z'), '2024-02-29T12:00:00.000Z'],
    ['a Map', new Map([[1, 2]]), {}],
    [
      'large numbers and nulls',
      [null, -0, 1e300, { none: null }],
      [null, 0, 1e300, { none: null }],
    ],
    ['functions as members', { a: 1, f: () => 1, n: null }, { a: 1, n: null }],
    ['an object that says how', { toJSON: () => ({ said: 1 }) }, { said: 1 }],
    ['an escaped backslash before u0000', '\\u0000', '\\u0000'],
    ['pairs of surrogates', '🦋', '🦋'],
    ['scalars', false, false],
    ['an empty string', '', ''],
  ])('enqueue stores %s as JSON.stringify has it', async (_, payload, stored) => {
    const queue = await createQueue();
    const one = await client.enqueue(queue, payload);
    const [many = ''] = await client.enqueueMany(queue, [{ payload }]);
    expect((await client.job(one)).payload).toEqual(stored);
    expect((await client.job(many)).payload).toEqual(stored);
  });

  test('a payload with __proto__ arrives as data and changes no prototype', async () => {
    const payload = JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"x": 1}}');
    const { payload: arrived, jobId } = await enqueueAndLease(payload);
    expect(Object.getPrototypeOf(arrived)).toBe(Object.prototype);
    expect(JSON.stringify(arrived)).toContain('"__proto__":{"polluted":true}');
    expect('polluted' in {}).toBe(false);
    expect(JSON.stringify((await client.job(jobId)).payload)).toContain('__proto__');
  });

  test('fail stores an error text of any content and size', async () => {
    const texts = [
      'nul \0 here',
      'half \ud800 a pair',
      '',
      `${'🦋'.repeat(20_000)}`,
      'x'.repeat(1e8),
    ];
    for (const text of texts) {
      const { jobId, token } = await enqueueAndLease();
      expect(await client.fail(jobId, token, text)).toMatchObject({ status: 'failed' });
      const { error } = (await client.job(jobId)).history[0] ?? {};
      expect([...(error ?? '')].length).toBeLessThanOrEqual(16_384);
      expect(error?.slice(0, 3)).toBe(text.slice(0, 3));
    }
  });

  test('deadLetter and cancel store a reason of any content', async () => {
    const { jobId, token, queue } = await enqueueAndLease();
    await client.deadLetter(jobId, token, 'nul \0, half \udfff');
    expect((await client.job(jobId)).reason).toBe('nul \uFFFD, half \uFFFD');
    const waiting = await client.enqueue(queue, 1);
    await client.cancel(waiting, 'nul \0');
    expect((await client.job(waiting)).reason).toBe('nul \uFFFD');
  });

  test('a result or checkpoint that cannot be stored is refused and changes nothing', async () => {
    const { jobId, token } = await enqueueAndLease();
    for (const bad of ['\0', '\ud800', 'x'.repeat(1_048_576), 1n, cyclic]) {
      await expect(client.complete(jobId, token, bad)).rejects.toThrow();
      await expect(client.heartbeat(jobId, token, { checkpoint: bad })).rejects.toThrow();
    }
    const info = await client.job(jobId);
    expect(info).toMatchObject({ state: 'leased', checkpoint: undefined });
  });
});
