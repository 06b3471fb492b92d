import pg from 'pg';
import { afterAll, expect, test } from 'vitest';
import { Client, LeaseholdError, type StandardSchema } from '../client/index.ts';
import { createDatabase } from './support/database.ts';
import { startRecorded, TSX_THREADS } from './support/recorded.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
afterAll(() => pool.end());
/** Of the application that validates nothing before it enqueues. */
const unchecked = new Client(pool);

interface Render {
  readonly pages: number;
  readonly paper: string;
}

/** Written by hand from the specification: what zod and its like give. */
const render: StandardSchema<Render> = {
  '~standard': {
    version: 1,
    vendor: 'by hand',
    validate: async (value) => {
      const { pages, paper = 'A4' } = (value ?? {}) as Partial<Render>;
      const issues = [
        ...(Number.isInteger(pages) ? [] : [{ message: 'is not whole', path: ['pages'] }]),
        ...(typeof paper === 'string'
          ? []
          : [{ message: 'is no text', path: [{ key: 'paper' }, 0] }]),
      ];
      return issues.length > 0 ? { issues } : { value: { pages: Number(pages), paper } };
    },
  },
};

const whole: StandardSchema<number> = {
  '~standard': {
    version: 1,
    vendor: 'by hand',
    validate: (value) =>
      Number.isInteger(value)
        ? { value: Number(value) * 2 }
        : { issues: [{ message: `${JSON.stringify(value)} is not whole` }] },
  },
};

type Queues = Record<string, { payload: Render; result: number }>;

let queues = 0;
async function createQueue(): Promise<string> {
  const queue = `queue ${++queues}`;
  await unchecked.createQueue(queue);
  return queue;
}

test('enqueue rejects a payload that its schema refuses, naming every issue, and adds nothing', async () => {
  const queue = await createQueue();
  const client = new Client<Queues>(pool, { schemas: { [queue]: { payload: render } } });
  const bad = { pages: 1.5, paper: 7 } as unknown as Render;
  const refusal = {
    code: 'invalid_payload',
    message: 'payload is not valid: pages: is not whole; paper.0: is no text',
  };
  await expect(client.enqueue(queue, bad)).rejects.toMatchObject(refusal);
  await expect(client.enqueue(queue, bad)).rejects.toBeInstanceOf(LeaseholdError);
  await expect(
    client.enqueueMany(queue, [{ payload: { pages: 1, paper: 'A5' } }, { payload: bad }]),
  ).rejects.toMatchObject(refusal);
  expect(await unchecked.peek(queue)).toEqual([]);
});

test('enqueue stores a payload as it was given, and leaves it to the worker what its schema makes of it', async () => {
  const queue = await createQueue();
  const client = new Client<Queues>(pool, { schemas: { [queue]: { payload: render } } });
  const given = { pages: 3, other: 'dropped by the worker' } as unknown as Render;
  const one = await client.enqueue(queue, given);
  const [many = ''] = await client.using(pool).enqueueMany(queue, [{ payload: given }]);
  for (const id of [one, many]) {
    expect((await client.job(id)).payload).toEqual(given);
  }
});

test('a queue without a schema takes anything', async () => {
  const [checked, free] = [await createQueue(), await createQueue()];
  const client = new Client<Queues>(pool, { schemas: { [checked]: { payload: render } } });
  const id = await client.enqueue(free, 'anything' as unknown as Render);
  expect(await client.job(id)).toMatchObject({ payload: 'anything' });
});

const thread = new URL('./support/thread-handlers/echo.ts', import.meta.url);

test.each(['in this process', 'in a thread'])(
  'a worker whose handler is %s dead-letters a payload that its schema refuses, unseen',
  async (where) => {
    const queue = await createQueue();
    const id = await unchecked.enqueue(queue, { pages: 'many' });
    let runs = 0;
    const handler = where === 'in a thread' ? { module: thread } : { handler: () => ++runs };
    const scheduler = await startRecorded({
      connection: url,
      threads: TSX_THREADS,
      handlers: { [queue]: { ...handler, payload: render } },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'dead' });
    expect(await unchecked.job(id)).toMatchObject({
      state: 'dead',
      reason: 'payload is not valid: pages: is not whole',
      failures: 0,
      losses: 0,
    });
    expect(runs).toBe(0);
  },
);

test.each(['in this process', 'in a thread'])(
  'a handler %s gets what the schema makes of the payload',
  async (where) => {
    const queue = await createQueue();
    const id = await unchecked.enqueue(queue, { pages: 4, other: 1 });
    const handler =
      where === 'in a thread'
        ? { module: thread }
        : { handler: ({ payload }: { payload: unknown }) => payload };
    const scheduler = await startRecorded({
      connection: url,
      threads: TSX_THREADS,
      handlers: { [queue]: { ...handler, payload: render } },
    });
    await scheduler.settled(id);
    expect(await unchecked.job(id)).toMatchObject({ result: { pages: 4, paper: 'A4' } });
  },
);

test.each(['in this process', 'in a thread'])(
  'the result of a handler %s is what its schema makes of it, or the job is dead',
  async (where) => {
    const queue = await createQueue();
    const good = await unchecked.enqueue(queue, 21);
    const bad = await unchecked.enqueue(queue, 'x');
    const handler =
      where === 'in a thread'
        ? { module: thread }
        : { handler: ({ payload }: { payload: unknown }) => payload };
    const scheduler = await startRecorded({
      connection: url,
      threads: TSX_THREADS,
      handlers: { [queue]: { ...handler, result: whole } },
    });
    expect(await scheduler.settled(good)).toMatchObject({ status: 'completed' });
    expect(await scheduler.settled(bad)).toMatchObject({ status: 'dead' });
    expect(await unchecked.job(good)).toMatchObject({ result: 42 });
    expect(await unchecked.job(bad)).toMatchObject({
      state: 'dead',
      reason: expect.stringMatching(/^invalid_result: .*"x" is not whole\n/),
      result: undefined,
    });
  },
);

test('a schema that throws fails the job, which may be tried again', async () => {
  const queue = await createQueue();
  const id = await unchecked.enqueue(queue, {});
  const broken: StandardSchema = {
    '~standard': {
      version: 1,
      vendor: 'by hand',
      validate: () => {
        throw new Error('the schema is broken');
      },
    },
  };
  const scheduler = await startRecorded({
    connection: url,
    handlers: { [queue]: { handler: () => 'never', payload: broken } },
  });
  expect(await scheduler.settled(id)).toMatchObject({ status: 'failed' });
  expect((await unchecked.job(id)).history[0]?.error).toContain('the schema is broken');

  const client = new Client(pool, { schemas: { [queue]: { payload: broken } } });
  await expect(client.enqueue(queue, {})).rejects.toThrow('the schema is broken');
});
