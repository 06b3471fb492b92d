import pg from 'pg';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { Client, type Context, type StandardSchema } from '../../client/index.ts';
import { createDatabase } from '../support/database.ts';
import { startRecorded, TSX_THREADS } from '../support/recorded.ts';
import refusedCheckpoint from '../support/thread-handlers/refused-checkpoint.ts';
import unstorable, { UNSTORABLE } from '../support/thread-handlers/unstorable.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
afterAll(() => pool.end());
const client = new Client(pool);

const handlerModule = (name: string): URL =>
  new URL(`../support/thread-handlers/${name}.ts`, import.meta.url);

let queues = 0;
async function createQueue(settings = {}): Promise<string> {
  const queue = `queue ${++queues}`;
  await client.createQueue(queue, settings);
  return queue;
}

/** Where a handler runs, and how one is given there. */
const PLACES = ['in this process', 'in a thread'] as const;

test.each(PLACES)(
  'S03 a result that cannot be stored, %s, makes its job dead at once',
  async (place) => {
    const queue = await createQueue();
    const names = Object.keys(UNSTORABLE);
    const ids = await client.enqueueMany(
      queue,
      names.map((payload) => ({ payload })),
    );
    const fine = await client.enqueue(queue, 'no such name');
    const scheduler = await startRecorded({
      connection: url,
      threads: { ...TSX_THREADS, max: 2 },
      handlers: {
        [queue]: place === 'in a thread' ? { module: handlerModule('unstorable') } : unstorable,
      },
    });
    for (const [index, id] of ids.entries()) {
      await scheduler.settled(id);
      const job = await client.job(id);
      expect(job, names[index]).toMatchObject({
        state: 'dead',
        attempt: 1,
        failures: 0,
        losses: 0,
        reason: expect.stringMatching(/^result_not_storable: /),
      });
      expect(job.reason, names[index]).toMatch(UNSTORABLE[names[index] ?? '']?.[1] ?? /never/);
      expect(job.reason?.length).toBeLessThanOrEqual(16_384);
    }
    expect(await scheduler.settled(fine)).toMatchObject({ status: 'completed' });
    expect(scheduler.eventsOf('outcome:undeliverable')).toEqual([]);
  },
);

/** A validator that says what the function says. */
function schema<T>(validate: StandardSchema<T>['~standard']['validate']): StandardSchema<T> {
  return { '~standard': { version: 1, vendor: 'by hand', validate } };
}

const refusing = schema(() => ({ issues: [{ message: 'too few pages', path: ['pages'] }] }));
const throwing = schema(async () => {
  throw new Error('the schema is broken\nhere');
});
const unsaying = schema(() => ({ value: 12n }));

test.each(PLACES)(
  'S03 a result that its schema refuses, %s, makes its job dead at once',
  async (place) => {
    const judges: [StandardSchema, RegExp][] = [
      [
        refusing,
        /^invalid_result: .*pages: too few pages\nsize: 7 bytes as JSON\nresult: "pages"$/,
      ],
      [throwing, /^invalid_result: the schema is broken\nsize: 7 bytes as JSON\nresult: "pages"$/],
      [unsaying, /^result_not_storable: .*BigInt\nsize: 7 bytes as JSON\nresult: "pages"$/],
    ];
    const handler =
      place === 'in a thread' ? { module: handlerModule('echo') } : { handler: () => 'pages' };
    const handlers: Record<string, typeof handler & { result: StandardSchema }> = {};
    const ids: string[] = [];
    for (const [result] of judges) {
      const queue = await createQueue();
      handlers[queue] = { ...handler, result };
      ids.push(await client.enqueue(queue, 'pages'));
    }
    const scheduler = await startRecorded({
      connection: url,
      threads: { ...TSX_THREADS, max: 1 },
      handlers,
    });
    for (const [index, id] of ids.entries()) {
      await scheduler.settled(id);
      expect(await client.job(id)).toMatchObject({
        state: 'dead',
        attempt: 1,
        failures: 0,
        reason: expect.stringMatching(judges[index]?.[1] ?? /never/),
      });
    }
  },
);

test('S03 what JSON has no word for becomes what JSON.stringify makes of it', async () => {
  const queue = await createQueue();
  const id = await client.enqueue(queue, {});
  const scheduler = await startRecorded({
    connection: url,
    handlers: {
      [queue]: () => ({
        numbers: [Number.NaN, Infinity, -0],
        nothing: undefined,
        list: [undefined, () => 1, Symbol('s')],
        map: new Map([[1, 2]]),
        set: new Set([1]),
        error: new Error('lost'),
        date: new Date(0),
        bytes: new Uint8Array([1]),
      }),
    },
  });
  await scheduler.settled(id);
  expect(await client.job(id)).toMatchObject({ state: 'completed' });
  expect((await client.job(id)).result).toEqual({
    numbers: [null, null, 0],
    list: [null, null, null],
    map: {},
    set: {},
    error: {},
    date: '1970-01-01T00:00:00.000Z',
    bytes: { 0: 1 },
  });
});

test('S03 a result that only the database refuses makes its job dead, and no other', async () => {
  await pool.query(`
    create function public.refuse() returns trigger language plpgsql as $$
    begin
      if new.result = '"refused"' then
        raise exception 'not this one' using errcode = 'invalid_text_representation';
      end if;
      return new;
    end $$`);
  await pool.query(
    'create trigger refuse before insert on leasehold.finished for each row execute function public.refuse()',
  );
  const queue = await createQueue();
  const payloads = ['fine', 'refused', 'also fine'];
  const ids = await client.enqueueMany(
    queue,
    payloads.map((payload) => ({ payload })),
  );
  const scheduler = await startRecorded({
    connection: url,
    handlers: { [queue]: ({ payload }) => payload },
  });
  for (const id of ids) await scheduler.settled(id);
  const jobs = await Promise.all(ids.map((id) => client.job(id)));
  expect(jobs).toMatchObject([
    { state: 'completed', result: 'fine' },
    {
      state: 'dead',
      attempt: 1,
      failures: 0,
      reason: 'result_not_storable: not this one\nsize: 9 bytes as JSON\nresult: "refused"',
    },
    { state: 'completed', result: 'also fine' },
  ]);
});

test('S03 completeIn refuses a result that cannot be stored where it is called', async () => {
  const queue = await createQueue();
  const id = await client.enqueue(queue, {});
  let refusal: unknown;
  const scheduler = await startRecorded({
    connection: url,
    handlers: {
      [queue]: async (_, context: Context) => {
        refusal = await context.completeIn(pool, 1n).catch((error: unknown) => error);
        return 'another';
      },
    },
  });
  expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
  expect(refusal).toMatchObject({ code: 'invalid_argument' });
  expect(await client.job(id)).toMatchObject({ result: 'another' });
});

test.each(PLACES)(
  'S10 a checkpoint that cannot be stored, %s, is refused to those who wait for it and ends nothing',
  async (place) => {
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', note);
    onTestFinished(() => void process.off('unhandledRejection', note));
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      threads: { ...TSX_THREADS, max: 1 },
      handlers: {
        [queue]:
          place === 'in a thread'
            ? { module: handlerModule('refused-checkpoint') }
            : refusedCheckpoint,
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
    expect(await client.job(id)).toMatchObject({ result: { refused: 'invalid_argument' } });
    expect(unhandled).toEqual([]);
  },
);
