/* A file of its own: type parsers are global to the process, and each test file has one. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { Client, Scheduler } from '../client/index.ts';
import { createDatabase } from './support/database.ts';

const { builtins } = pg.types;
const OVERRIDDEN = [
  builtins.INT8,
  builtins.JSON,
  builtins.JSONB,
  builtins.INTERVAL,
  builtins.TIMESTAMPTZ,
  builtins.UUID,
  builtins.NUMERIC,
  builtins.INT2,
];
/** What an application might make of a value; nothing that leasehold could work with. */
class Wrapped {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  toString(): string {
    return `wrapped ${this.#text}`;
  }
}
for (const type of OVERRIDDEN) pg.types.setTypeParser(type, (text) => new Wrapped(text));

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
afterAll(() => pool.end());
const client = new Client(pool);

test('the parsers of the application are in force', async () => {
  const { rows } = await pool.query(`select 1::int8 as a, '{}'::jsonb as b, now() - now() as c`);
  expect(rows[0]).toEqual({
    a: expect.any(Wrapped),
    b: expect.any(Wrapped),
    c: expect.any(Wrapped),
  });
});

test('Client answers the same, whatever parsers the application has set', async () => {
  await client.createQueue('q', { leaseMs: 90_000 });
  const runAt = new Date('2000-01-01T00:00:00.5Z');
  const id = await client.enqueue('q', { n: [1] }, { headers: { h: 1 }, runAt });
  expect(id).toMatch(/^\d+$/);
  const [many = ''] = await client.enqueueMany('q', [{ payload: 2, delayMs: 60_000 }]);
  expect(many).toMatch(/^\d+$/);

  const workerId = randomUUID();
  expect(await client.registerWorker(workerId, { queues: ['q', 'x'] })).toEqual([
    expect.any(Number),
    undefined,
  ]);
  const [job] = await client.leaseJobs(['q'], { workerId });
  expect(job).toMatchObject({
    jobId: id,
    payload: { n: [1] },
    headers: { h: 1 },
    fence: expect.any(BigInt),
    leaseMs: 90_000,
    remainingMs: 90_000,
    enqueuedAt: expect.any(Date),
  });
  if (job === undefined) return;

  const beat = await client.heartbeat(id, job.token, { checkpoint: { at: 1 } });
  expect(beat).toMatchObject({ jobId: id, status: 'ok', remainingMs: expect.any(Number) });
  expect(await client.fail(id, job.token, 'no', { retryInMs: 0 })).toMatchObject({ retryInMs: 0 });
  const [again] = await client.leaseJobs(['q'], { workerId });
  expect(again).toMatchObject({ checkpoint: { at: 1 }, attempt: 2, failures: 1 });
  await client.completeMany([{ jobId: id, token: again?.token ?? '', result: { ok: true } }]);

  const info = await client.job(id);
  expect(info).toMatchObject({ jobId: id, result: { ok: true }, workerId, attempt: 2 });
  expect(info.finishedAt?.getTime()).toBeGreaterThan(runAt.getTime());
  expect(info.history[0]).toMatchObject({ attempt: 1, workerId, leasedAt: expect.any(Date) });
  expect(info.history[0]?.endedAt.getTime()).toBeGreaterThan(runAt.getTime());
  expect(await client.queueStats('q')).toMatchObject([{ completed: 1, scheduled: 1 }]);
  const { nextDueInMs } = await client.tick();
  expect(nextDueInMs).toBeGreaterThan(0);
  expect(nextDueInMs).toBeLessThanOrEqual(60_000);
  expect(await client.redrive({ jobIds: [many] })).toEqual([]);
});

test('Scheduler works, whatever parsers the application has set', async () => {
  await client.createQueue('work');
  const id = await client.enqueue('work', { x: 20 });
  const done = new Promise<void>((resolve) => {
    const scheduler = new Scheduler<{ work: { payload: { x: number }; result: number } }>({
      connection: url,
      handlers: {
        work: async (job, context) => {
          await context.checkpoint({ half: true });
          return job.payload.x + 1;
        },
      },
      checkpointMs: 0,
      onEvent: ({ type }) => {
        if (type === 'job:settled') void scheduler.stop().then(() => resolve());
      },
    });
    void scheduler.start();
  });
  await done;
  expect(await client.job(id)).toMatchObject({ state: 'completed', result: 21, losses: 0 });
});

test('S33 Client answers the same on a pool that returns text for everything', async () => {
  const types = { getTypeParser: () => String };
  const texts = new pg.Pool({ connectionString: url, types });
  onTestFinished(() => texts.end());
  const { rows } = await texts.query(`select true as a, array[1, 2] as b, 3 as c`);
  expect(rows).toEqual([{ a: 't', b: '{1,2}', c: '3' }]);

  const textual = new Client(texts);
  await textual.createQueue('text');
  const workerId = randomUUID();
  expect(await textual.registerWorker(workerId, { queues: ['text', 'none'] })).toEqual([
    expect.any(Number),
    undefined,
  ]);
  const [id = '', paused = ''] = await textual.enqueueMany('text', [
    { payload: 1 },
    { payload: 2 },
  ]);
  const [job] = await textual.leaseJobs(['text'], { workerId });
  expect(job).toMatchObject({ jobId: id, attempt: 1, failures: 0, priority: 5 });
  const token = job?.token ?? '';
  await textual.cancel(id);
  expect(await textual.heartbeat(id, token)).toMatchObject({ status: 'ok', cancelRequested: true });
  expect(await textual.job(id)).toMatchObject({ cancelRequested: true, late: false });
  await client.tick();
  expect(await textual.complete(id, token)).toMatchObject({ status: 'completed', late: false });
  await textual.pauseQueue('text');
  expect(await textual.queueStats('text')).toMatchObject([
    { paused: true, completed: 1, ready: 1, workers: 1 },
  ]);
  expect(await textual.retireWorker(workerId)).toBe(true);
  expect(await textual.retireWorker(workerId)).toBe(false);
  expect(await textual.tick()).toMatchObject({ reaped: 0, promoted: 0 });
  expect(await textual.cancel(paused)).toBe('cancelled');
});
