import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, expect, test } from 'vitest';
import { Client } from '../client/index.ts';
import { createDatabase } from './support/database.ts';
import { type RecordedScheduler, startRecorded, TSX_THREADS } from './support/recorded.ts';
import type { Act } from './support/thread-handlers/act.ts';
import { until } from './support/wait.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
afterAll(() => pool.end());
await pool.query('create table effect (job_id bigint, attempt integer)');
const client = new Client(pool);

const folder = await mkdtemp(join(tmpdir(), 'leasehold-threads-'));
afterAll(() => rm(folder, { recursive: true }));
let files = 0;
/** A file that a thread waits for. */
const signalFile = (): string => join(folder, String(++files));

const handlerModule = (name: string): URL =>
  new URL(`./support/thread-handlers/${name}.ts`, import.meta.url);

let queues = 0;
async function createQueue(settings = {}): Promise<string> {
  const queue = `queue ${++queues}`;
  await client.createQueue(queue, settings);
  return queue;
}

type Options = Parameters<typeof startRecorded>[0];

/** A scheduler whose handler for the queue runs in threads. */
function startThreads(
  queue: string,
  options: Partial<Options> = {},
  module = handlerModule('act'),
): Promise<RecordedScheduler> {
  return startRecorded({
    connection: url,
    ...options,
    threads: { ...TSX_THREADS, ...options.threads },
    handlers: { [queue]: { module } },
  });
}

/** Starting a thread takes a while: most tests share these. */
const shared = 'shared';
const forgotten = 'forgotten';
await client.createQueue(shared);
await client.createQueue(forgotten, { keepCompletedMs: 0 });
const scheduler = await startRecorded(
  {
    connection: url,
    concurrency: 3,
    leaseMs: 30_000,
    threads: TSX_THREADS,
    handlers: {
      [shared]: { module: handlerModule('act') },
      [forgotten]: { module: handlerModule('act') },
    },
  },
  afterAll,
);

const enqueue = (queue: string, act: Act): Promise<string> => client.enqueue(queue, act);

test('a handler in a thread gets the job and its lease, and its result is stored', async () => {
  const id = await client.enqueue(shared, { do: 'describe' }, { headers: { h: 1 }, priority: 3 });
  const nothing = await enqueue(shared, { do: 'nothing' });
  expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
  await scheduler.settled(nothing);

  const { result, enqueuedAt } = await client.job(id);
  expect(result).toEqual({
    job: {
      id,
      queue: shared,
      payload: { do: 'describe' },
      headers: { h: 1 },
      priority: 3,
      attempt: 1,
      failures: 0,
      losses: 0,
      enqueuedAt: enqueuedAt.toISOString(),
    },
    aborted: false,
    fence: expect.stringMatching(/^\d+$/),
    token: expect.stringMatching(/^[0-9a-f-]{36}$/),
    remainingMs: expect.any(Number),
    isMainThread: false,
    threadId: expect.any(Number),
  });
  expect((await client.job(nothing)).result).toBeUndefined();
});

test('a payload passes into a thread and back unchanged', async () => {
  const value = JSON.parse(
    '{"__proto__": {"x": 1}, "text": "grüße 🦋 \\" \\\\ \\n", "n": [1e300, null]}',
  );
  const id = await enqueue(shared, { do: 'return', value });
  await scheduler.settled(id);
  expect(JSON.stringify((await client.job(id)).result)).toBe(
    JSON.stringify(((await client.job(id)).payload as { value: unknown }).value),
  );
});

test('what a handler in a thread throws fails its job, whatever it is', async () => {
  const cases: [Act, RegExp][] = [
    [{ do: 'throw', what: 'error' }, /^Error: from the thread\n/],
    [{ do: 'throw', what: 'undefined' }, /^undefined$/],
    [{ do: 'throw', what: 'circular' }, /./],
    [{ do: 'throw', what: 'hostile' }, /./],
    [{ do: 'throw', what: 'huge' }, /^Error: xxx/],
  ];
  const ids = await client.enqueueMany(
    shared,
    cases.map(([payload]) => ({ payload })),
  );
  for (const [index, id] of ids.entries()) {
    expect(await scheduler.settled(id)).toMatchObject({ status: 'failed' });
    expect((await client.job(id)).history[0]?.error).toMatch(cases[index]?.[1] ?? /never/);
  }
});

test('what a handler in a thread declares counts, however soon it returns', async () => {
  const count = 60;
  const declared = (['fail', 'release', 'dead-letter'] as const).flatMap((what) =>
    Array.from({ length: count / 3 }, () => ({ payload: { do: 'declare', what } })),
  );
  const ids = await client.enqueueMany(shared, declared);
  const expected = { fail: 'failed', release: 'released', 'dead-letter': 'dead' } as const;
  for (const [index, id] of ids.entries()) {
    const { what } = declared[index]?.payload ?? { what: 'fail' };
    expect(await scheduler.settled(id)).toMatchObject({ status: expected[what] });
  }
});

test('the last of many checkpoints of a thread is saved before its attempt ends', async () => {
  const id = await enqueue(shared, { do: 'offer-checkpoints', count: 200 });
  expect(await scheduler.settled(id)).toMatchObject({ status: 'failed' });
  expect(await client.job(id)).toMatchObject({ checkpoint: { n: 200 } });
});

test('a checkpoint of a thread is saved while it runs, and the next attempt resumes from it', async () => {
  const queue = await createQueue();
  const file = signalFile();
  const id = await enqueue(queue, { do: 'checkpoint-and-wait', file });
  const scheduler = await startThreads(queue, { cancelGraceMs: 100 });
  await until(async () => (await client.job(id)).checkpoint !== undefined);
  expect(await client.job(id)).toMatchObject({
    state: 'leased',
    checkpoint: { attempt: 1, before: null },
  });
  await scheduler.stop({ graceMs: 0 });

  await writeFile(file, '');
  const next = await startThreads(queue);
  await next.settled(id, 2);
  expect(await client.job(id)).toMatchObject({
    state: 'completed',
    failures: 0,
    losses: 0,
    result: { resumedFrom: { attempt: 1, before: null } },
  });
});

test('a cancel reaches the signal of a handler in a thread', async () => {
  const id = await enqueue(shared, { do: 'until-abort' });
  await scheduler.event('listener:connected');
  await scheduler.event('job:started', ({ jobId }) => jobId === id);
  await client.cancel(id, 'enough');
  expect(await scheduler.event('job:aborted', ({ jobId }) => jobId === id)).toMatchObject({
    reason: 'cancelled',
  });
  expect(await scheduler.settled(id)).toMatchObject({ status: 'cancelled' });
  expect(await client.job(id)).toMatchObject({
    state: 'cancelled',
    reason: 'enough',
    history: [{ outcome: 'cancelled', error: expect.stringContaining('cancelled') }],
  });
});

test('a thread that blocks does not stop heartbeats, however long it does', async () => {
  const queue = await createQueue();
  const file = signalFile();
  const id = await enqueue(queue, { do: 'block', file });
  const scheduler = await startThreads(queue, { leaseMs: 9000, heartbeatMs: 3000 });
  const leasedAt = await until(async () => (await client.job(id)).state === 'leased').then(() =>
    performance.now(),
  );
  await until(async () => {
    const { remainingMs = 0, attempt } = await client.job(id);
    expect(attempt).toBe(1);
    expect(remainingMs).toBeGreaterThan(0);
    return performance.now() - leasedAt > 12_000;
  });
  await writeFile(file, '');
  expect(await scheduler.settled(id)).toMatchObject({ status: 'completed', late: false });
  expect(scheduler.eventsOf('loop:lagged')).toEqual([]);
});

test('completeIn in a thread joins the transaction of the handler', async () => {
  const done = await enqueue(shared, { do: 'complete-in', url, commit: true });
  const undone = await enqueue(shared, { do: 'complete-in', url, commit: false });
  expect(await scheduler.settled(done)).toMatchObject({ status: 'already_completed' });
  expect(await scheduler.settled(undone)).toMatchObject({ status: 'failed' });
  expect(await client.job(done)).toMatchObject({ result: { in: 'the transaction' } });
  const { rows } = await pool.query('select job_id::text, attempt from effect');
  expect(rows).toEqual([{ job_id: done, attempt: 1 }]);
});

test('completeIn in a thread works where the queue keeps nothing', async () => {
  const id = await enqueue(forgotten, { do: 'complete-in', url, commit: true });
  await scheduler.settled(id);
  expect(scheduler.eventsOf('outcome:refused')).toEqual([]);
  await expect(client.job(id)).rejects.toMatchObject({ code: 'job_not_found' });
});

test('a handler that ends its thread fails its job alone, and its slot is free again', async () => {
  const exits = await Promise.all([0, 1, 3].map((code) => enqueue(shared, { do: 'exit', code })));
  const after = await enqueue(shared, { do: 'nothing' });
  for (const id of exits) {
    expect(await scheduler.settled(id)).toMatchObject({ status: 'failed' });
    expect((await client.job(id)).history[0]?.error).toMatch(/exited with code/);
  }
  expect(await scheduler.settled(after)).toMatchObject({ status: 'completed' });
});

test('a thread over its memory limit fails its job alone', async () => {
  const queue = await createQueue({ maxFailures: 1 });
  const id = await enqueue(queue, { do: 'exhaust-memory' });
  const after = await enqueue(queue, { do: 'nothing' });
  const scheduler = await startThreads(queue, {
    concurrency: 1,
    threads: { resourceLimits: { maxOldGenerationSizeMb: 64 } },
  });
  expect(await scheduler.settled(id)).toMatchObject({ status: 'dead' });
  expect((await client.job(id)).history[0]?.error).toMatch(/memory/i);
  expect(await scheduler.settled(after)).toMatchObject({ status: 'completed' });
});

test('jobs that wait for a thread get one, also after threads have ended by themselves', async () => {
  const queue = await createQueue({ maxFailures: 1 });
  await enqueue(queue, { do: 'exit', code: 1 });
  await enqueue(queue, { do: 'exit', code: 1 });
  const after = await enqueue(queue, { do: 'nothing' });
  const scheduler = await startThreads(queue, { concurrency: 3, threads: { max: 1 } });
  expect(await scheduler.settled(after)).toMatchObject({ status: 'completed' });
});

test('a thread that ignores its signal is ended once the grace has passed', async () => {
  const queue = await createQueue();
  const id = await enqueue(queue, { do: 'block' });
  const after = await enqueue(queue, { do: 'nothing' });
  const scheduler = await startThreads(queue, { concurrency: 1, cancelGraceMs: 300 });
  await scheduler.event('listener:connected');
  await scheduler.event('job:started');
  await client.cancel(id);
  expect(await scheduler.settled(id)).toMatchObject({ status: 'cancelled' });
  expect(await scheduler.settled(after)).toMatchObject({ status: 'completed' });
  expect(scheduler.eventsOf('job:stuck')).toEqual([]);
});

test('a thread that ignores its signal is ended by its longest runtime', async () => {
  const queue = await createQueue({ maxFailures: 1 });
  const id = await client.enqueue(queue, { do: 'block' }, { maxRuntimeMs: 1000 });
  const scheduler = await startThreads(queue, { cancelGraceMs: 100 });
  expect(await scheduler.settled(id)).toMatchObject({ status: 'dead' });
  expect(await client.job(id)).toMatchObject({ state: 'dead', reason: 'max_runtime_exceeded' });
});

test('stop ends threads that ignore their signal, and hands their jobs back free of charge', async () => {
  const queue = await createQueue();
  const ids = await Promise.all([1, 2].map(() => enqueue(queue, { do: 'block' })));
  const scheduler = await startThreads(queue, { cancelGraceMs: 200 });
  await until(() => scheduler.running === 2);
  expect(await scheduler.stop({ graceMs: 100 })).toEqual({ stuck: [], undelivered: [] });
  for (const id of ids) {
    expect(await client.job(id)).toMatchObject({
      state: 'ready',
      attempt: 1,
      releases: 1,
      failures: 0,
      losses: 0,
    });
  }
});
