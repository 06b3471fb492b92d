import pg from 'pg';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { Client, type Handler, LeaseholdError, Scheduler } from '../client/index.ts';
import { createDatabase } from './support/database.ts';
import { until } from './support/wait.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
const client = new Client(pool);
afterAll(() => pool.end());

/** Runs one job through a handler, until it is neither ready nor leased. */
async function settled(queue: string, handler: Handler, observe?: () => Promise<void>) {
  await client.createQueue(queue);
  const jobId = await client.enqueue(queue, {}, { maxFailures: 1 });
  const scheduler = new Scheduler({
    connection: url,
    handlers: { [queue]: handler },
    ...(observe ? { onEvent: observe } : {}),
  });
  onTestFinished(async () => {
    await scheduler.stop({ graceMs: 0 });
  });
  await scheduler.start();
  await until(async () => !['ready', 'leased'].includes((await client.job(jobId)).state));
  return client.job(jobId);
}

test.for([-1, Number.NaN, Infinity])(
  'ctx.fail and ctx.release refuse a delay of %s where they are called',
  async (delay) => {
    const refused: unknown[] = [];
    const job = await settled(`delay ${delay}`, (_job, context) => {
      for (const call of [
        () => context.fail('no', { retryInMs: delay }),
        () => context.release({ delayMs: delay }),
      ]) {
        try {
          call();
        } catch (error) {
          refused.push(error);
        }
      }
      return 'went on';
    });
    expect(refused).toEqual([expect.any(LeaseholdError), expect.any(LeaseholdError)]);
    expect(refused).toMatchObject([{ code: 'invalid_argument' }, { code: 'invalid_argument' }]);
    expect(job).toMatchObject({ state: 'completed', result: 'went on' });
  },
);

test('a handler that passes on the refusal of another payload fails, as with any error', async () => {
  const job = await settled('passes on', () => {
    throw new LeaseholdError('invalid_payload', 'of a job it wanted to enqueue');
  });
  expect(job).toMatchObject({ state: 'dead', reason: 'max_failures_exceeded', failures: 1 });
});

test('an observer whose promise rejects changes nothing', async () => {
  const job = await settled(
    'observed',
    () => 'done',
    () => Promise.reject(new Error('of the observer')),
  );
  expect(job).toMatchObject({ state: 'completed', result: 'done' });
});
