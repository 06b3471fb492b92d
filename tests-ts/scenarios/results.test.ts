import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { runInNewContext } from 'node:vm';
import pg from 'pg';
import { afterAll, expect, onTestFinished, test, vi } from 'vitest';
import { Client, type Context, type StandardSchema } from '../../client/index.ts';
import { createDatabase } from '../support/database.ts';
import { Gate, RecordedScheduler, startRecorded, TSX_THREADS } from '../support/recorded.ts';
import refusedCheckpoint from '../support/thread-handlers/refused-checkpoint.ts';
import type { Stray } from '../support/thread-handlers/stray.ts';
import transformed, { type Due } from '../support/thread-handlers/transformed.ts';
import unstorable, { UNSTORABLE } from '../support/thread-handlers/unstorable.ts';
import { until } from '../support/wait.ts';

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
function schema<I, O = I>(
  validate: StandardSchema<I, O>['~standard']['validate'],
): StandardSchema<I, O> {
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
  const told = await Promise.all(ids.map((id) => scheduler.settled(id)));
  const jobs = await Promise.all(ids.map((id) => client.job(id)));
  expect(told.map(({ error }) => error)).toEqual(jobs.map(({ reason }) => reason));
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

const folder = await mkdtemp(join(tmpdir(), 'leasehold-results-'));
afterAll(() => rm(folder, { recursive: true }));

test.each([
  [
    'without a default export',
    { module: handlerModule('no-default') },
    /no function as its default/,
  ],
  ['that does not exist', { module: handlerModule('no-such-module') }, /no-such-module/],
  [
    'that throws while it loads',
    { module: handlerModule('throws-on-load') },
    /thrown while loading/,
  ],
  [
    'with a mistake in its syntax',
    { module: new URL('data:text/javascript,export default (') },
    /Unexpected/,
  ],
  ['that ends its thread', { module: new URL('data:text/javascript,process.exit(7)') }, /code: 7/],
])(
  'S36 start rejects if a handler is a module %s, and begins nothing',
  async (_, handler, reason) => {
    const [queue, other] = [await createQueue(), await createQueue()];
    const id = await client.enqueue(queue, {});
    const scheduler = new RecordedScheduler({
      connection: url,
      threads: TSX_THREADS,
      handlers: { [other]: () => 'done', [queue]: handler },
    });
    await expect(scheduler.start()).rejects.toMatchObject({
      code: 'handler_unavailable',
      message: expect.stringMatching(reason),
    });
    expect(scheduler.eventsOf('worker:started')).toEqual([]);
    expect(await client.job(id)).toMatchObject({ state: 'ready', attempt: 0 });
  },
);

test.each([
  ['throw', 'throw new Error("no start")', /no start/],
  ['end', 'process.exit(1)', /ended before it began/],
])('S36 start rejects if threads %s before they begin', async (_, code, reason) => {
  const queue = await createQueue();
  const scheduler = new RecordedScheduler({
    connection: url,
    threads: { execArgv: ['--import', `data:text/javascript,${code}`] },
    handlers: { [queue]: { module: handlerModule('echo') } },
  });
  await expect(scheduler.start()).rejects.toMatchObject({
    code: 'handler_unavailable',
    message: expect.stringMatching(reason),
  });
});

test('S36 start rejects without piscina, and says what to install', async () => {
  const queue = await createQueue();
  const script = fileURLToPath(new URL('../support/without-piscina.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--import',
    'tsx',
    script,
    url,
    queue,
  ]);
  expect(JSON.parse(stdout)).toEqual({
    code: 'peer_missing',
    message: expect.stringContaining('needs the package piscina'),
    hint: 'Run "npm install piscina".',
  });
});

test.each([
  ['a handler', 'handler.mjs'],
  ['what threads need to start', 'preload.mjs'],
])(
  'S36 %s that is gone later fails no job: they are handed back until it is there again',
  async (_, gone) => {
    const queue = await createQueue({ maxFailures: 1 });
    const text = `export default ({ payload }) => payload === 'exit' ? process.exit(1) : 'done';`;
    const preload = pathToFileURL(join(folder, 'preload.mjs'));
    const module = pathToFileURL(join(folder, 'handler.mjs'));
    for (const file of [preload, module]) await writeFile(file, text);
    const scheduler = await startRecorded({
      connection: url,
      threads: { execArgv: [...TSX_THREADS.execArgv, '--import', preload.href], max: 1 },
      handlers: { [queue]: { module } },
    });
    const file = join(folder, gone);
    await rm(file);
    const exit = await client.enqueue(queue, 'exit');
    // The next thread has to load the module anew.
    expect(await scheduler.settled(exit)).toMatchObject({ status: 'dead' });
    const ids = await client.enqueueMany(queue, [{ payload: 1 }, { payload: 2 }, { payload: 3 }]);
    expect(await scheduler.event('handler:missing')).toMatchObject({
      queue,
      error: { code: 'handler_unavailable' },
    });
    // The others are not even leased, for as long as that lasts.
    expect(await scheduler.settled(ids[0] ?? '')).toMatchObject({ status: 'released' });
    await writeFile(file, text);
    expect(await scheduler.event('handler:found')).toMatchObject({ queue });
    for (const [index, id] of ids.entries()) {
      await until(async () => (await client.job(id)).state === 'completed');
      expect(await client.job(id)).toMatchObject({
        result: 'done',
        failures: 0,
        losses: 0,
        releases: index === 0 ? 1 : 0,
      });
    }
    expect(scheduler.eventsOf('handler:missing')).toHaveLength(1);
  },
);

test.each<[string, Stray]>([
  ['an exception', 'throw'],
  ['a rejection', 'reject'],
  ['an end of its thread', 'exit'],
])('S13 %s that a job leaves behind in its thread is not charged to the next', async (_, left) => {
  const queue = await createQueue({ maxFailures: 1 });
  const scheduler = await startRecorded({
    connection: url,
    concurrency: 1,
    threads: { ...TSX_THREADS, max: 1 },
    handlers: { [queue]: { module: handlerModule('stray') } },
  });
  const guilty = await client.enqueue(queue, left);
  const next = await client.enqueue(queue, 'work');
  expect(await scheduler.settled(guilty)).toMatchObject({ status: 'completed' });
  await until(async () => (await client.job(next)).state === 'completed');
  expect(await client.job(next)).toMatchObject({ result: 'worked', failures: 0, losses: 0 });
  expect(scheduler.eventsOf('job:strayed')).toMatchObject(
    left === 'exit' ? [] : [{ jobId: guilty, error: expect.stringMatching(/^Error: left behind/) }],
  );
});

test('S13 an exception that nobody catches is charged to the job it belongs to', async () => {
  const queue = await createQueue({ maxFailures: 1 });
  const scheduler = await startRecorded({
    connection: url,
    concurrency: 1,
    threads: { ...TSX_THREADS, max: 1 },
    handlers: { [queue]: { module: handlerModule('stray') } },
  });
  const first = await client.enqueue(queue, 'throw');
  const own = await client.enqueue(queue, 'own');
  expect(await scheduler.settled(first)).toMatchObject({ status: 'completed' });
  expect(await scheduler.settled(own)).toMatchObject({ status: 'dead' });
  expect((await client.job(own)).history[0]?.error).toMatch(/^Error: its own/);
});

test('S13 an exception of nobody knows whom is charged to a job only in a thread of its own', async () => {
  const queue = await createQueue({ maxFailures: 1 });
  const scheduler = await startRecorded({
    connection: url,
    concurrency: 1,
    threads: { ...TSX_THREADS, max: 1 },
    handlers: { [queue]: { module: handlerModule('stray') } },
  });
  const first = await client.enqueue(queue, 'reject');
  const suspect = await client.enqueue(queue, 'nobody');
  expect(await scheduler.settled(first)).toMatchObject({ status: 'completed' });
  expect(await scheduler.settled(suspect, 1)).toMatchObject({ status: 'released' });
  expect(await scheduler.settled(suspect, 2)).toMatchObject({ status: 'dead' });
  expect((await client.job(suspect)).history.at(-1)?.error).toMatch(/^Error: of nobody knows/);
});

test('S13 a scheduler leases no more than its threads can start: the rest is for others at once', async () => {
  const [queue, here] = [await createQueue(), await createQueue()];
  const payload = { do: 'until-abort' };
  const ids = await client.enqueueMany(queue, Array(10).fill({ payload }));
  const scheduler = await startRecorded({
    connection: url,
    concurrency: 10,
    threads: { ...TSX_THREADS, max: 2 },
    handlers: { [queue]: { module: handlerModule('act') }, [here]: () => 'done' },
  });
  await until(() => scheduler.eventsOf('job:started').length >= 2);
  const others = await client.leaseJobs([queue], { workerId: randomUUID(), limit: 10 });
  expect(others.map(({ jobId }) => jobId)).toEqual(ids.slice(2));
  expect(await scheduler.settled(await client.enqueue(here, {}))).toMatchObject({
    status: 'completed',
  });
});

/** What is enqueued is not what the handler sees, and neither side takes what is the other's. */
const due = schema<{ at: string; tags: string[]; bytes: string }, Due>((value) => {
  const { at, tags, bytes } = value as Record<string, unknown>;
  if (typeof at !== 'string' || !Array.isArray(tags) || typeof bytes !== 'string') {
    return { issues: [{ message: 'is not as enqueued' }] };
  }
  return { value: { at: new Date(at), tags: new Set(tags.map(String)), bytes: BigInt(bytes) } };
});
const words = schema<{ bytes: string }, { words: string[] }>((value) => {
  const { bytes } = value as { bytes?: unknown };
  return typeof bytes === 'string'
    ? { value: { words: bytes.split(' ') } }
    : { issues: [{ message: 'is not as returned' }] };
});

interface Transforming {
  readonly payload: { at: string; tags: string[]; bytes: string };
  readonly parsed: Due;
  readonly returned: { bytes: string };
  readonly result: { words: string[] };
}

test.each(PLACES)(
  'S04 a schema that transforms serves both sides, with a handler %s',
  async (place) => {
    const queue = await createQueue();
    const schemas = { payload: due, result: words };
    const typed = new Client<Record<string, Transforming>>(pool, { schemas: { [queue]: schemas } });
    const payload = { at: '2030-01-01T00:00:00.000Z', tags: ['a', 'b'], bytes: '12' };
    const one = await typed.enqueue(queue, payload);
    const [many = ''] = await typed.enqueueMany(queue, [{ payload }]);
    const [later = ''] = await typed.enqueueMany(queue, [{ payload, priority: 6 }]);
    const scheduler = await startRecorded({
      connection: url,
      threads: { ...TSX_THREADS, max: 1 },
      handlers: {
        [queue]:
          place === 'in a thread'
            ? { module: handlerModule('transformed'), ...schemas }
            : { handler: transformed, ...schemas },
      },
    });
    for (const id of [one, many, later]) {
      expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
      expect(await typed.job(id)).toMatchObject({
        payload,
        result: { words: ['1893456000000', 'a,b', '12'] },
      });
    }
  },
);

test('S04 enqueue judges a payload as it will be stored, which is what the worker is given', async () => {
  const queue = await createQueue();
  const date = schema((value) =>
    value instanceof Date ? { value } : { issues: [{ message: 'is no Date' }] },
  );
  const typed = new Client(pool, { schemas: { [queue]: { payload: date } } });
  const refusal = { code: 'invalid_payload', message: 'payload is not valid: is no Date' };
  await expect(typed.enqueue(queue, new Date())).rejects.toMatchObject(refusal);
  await expect(typed.enqueueMany(queue, [{ payload: new Date() }])).rejects.toMatchObject(refusal);
});

test('S04 a payload whose parsed form cannot be passed to a thread makes its job dead', async () => {
  const queue = await createQueue();
  const id = await client.enqueue(queue, {});
  const scheduler = await startRecorded({
    connection: url,
    threads: { ...TSX_THREADS, max: 1 },
    handlers: {
      [queue]: { module: handlerModule('echo'), payload: schema(() => ({ value: () => 'code' })) },
    },
  });
  expect(await scheduler.settled(id)).toMatchObject({ status: 'dead' });
  expect(await client.job(id)).toMatchObject({
    failures: 0,
    reason: expect.stringMatching(/cannot be passed to a thread: .*could not be cloned/),
  });
});

test('S35 what a handler throws keeps its code, its causes and the members of an AggregateError', async () => {
  const queue = await createQueue({ maxFailures: 1 });
  const refused = Object.assign(new Error('connect failed'), { code: 'ECONNREFUSED' });
  const cyclic = new Error('around');
  cyclic.cause = cyclic;
  const thrown: readonly [unknown, RegExp][] = [
    [refused, /^Error: connect failed \(code ECONNREFUSED\)\n {4}at /],
    [
      new Error('no film', { cause: new Error('no reel', { cause: refused }) }),
      /^Error: no film\n[\s\S]*\ncaused by: Error: no reel\n[\s\S]*\ncaused by: Error: connect failed \(code ECONNREFUSED\)/,
    ],
    [
      new AggregateError([refused, 'a text', { an: 'object' }], 'all failed'),
      /^AggregateError: all failed\n[\s\S]*\none of 3: Error: connect failed \(code [\s\S]*\none of 3: a text\none of 3: \{ an: 'object' \}$/,
    ],
    [
      new Error('x'.repeat(1e6), { cause: new Error('deep down') }),
      /^Error: x+\ncaused by: Error: deep down/,
    ],
    [
      new AggregateError(Array.from({ length: 1e5 }, () => refused)),
      /^AggregateError[\s\S]*\none of 100000: /,
    ],
    [cyclic, /^Error: around\n[\s\S]*\ncaused by: Error: around/],
    [runInNewContext('new Error("of another realm")'), /^Error: of another realm/],
    [new Error('no code', { cause: 7 }), /\ncaused by: 7$/],
  ];
  const ids = await client.enqueueMany(
    queue,
    thrown.map((_, payload) => ({ payload })),
  );
  const scheduler = await startRecorded({
    connection: url,
    handlers: {
      [queue]: ({ payload }) => {
        throw thrown[payload]?.[0];
      },
    },
  });
  for (const [index, id] of ids.entries()) {
    const told = await scheduler.settled(id);
    const { error = '' } = (await client.job(id)).history[0] ?? {};
    expect(error).toMatch(thrown[index]?.[1] ?? /never/);
    expect(error.length).toBeLessThanOrEqual(16_384);
    expect(told.error).toBe(error);
  }
});

/** One event that ends it for each that begins it. */
function expectPairs(scheduler: RecordedScheduler): void {
  const begun = scheduler.eventsOf('job:started').map(({ jobId }) => jobId);
  const ended = scheduler.eventsOf('job:settled').map(({ jobId }) => jobId);
  expect(ended.sort()).toEqual(begun.sort());
}

test('S35 every job that starts has one end, with its wait, its duration and the delay of a retry', async () => {
  const queue = await createQueue();
  const ends: Record<string, (context: Context) => unknown> = {
    complete: () => 'done',
    'throw an error': () => Promise.reject(new Error('no')),
    fail: (context) => context.fail('no', { retryInMs: 60_000 }),
    release: (context) => context.release({ delayMs: 60_000 }),
    'give up': (context) => context.deadLetter('as declared'),
    'complete in a transaction': (context) => context.transaction(async () => 'done'),
    'complete and throw': async (context) => {
      await context.completeIn(pool, 'done');
      throw new Error('too late');
    },
    lose: async (context) => {
      // Erased by somebody who can.
      await pool.query('delete from leasehold.lease where token = $1', [context.token]);
      return 'too late';
    },
  };
  const ids = await client.enqueueMany(
    queue,
    Object.keys(ends).map((payload) => ({ payload })),
  );
  const scheduler = await startRecorded({
    connection: url,
    handlers: { [queue]: ({ payload }, context) => ends[payload]?.(context) },
  });
  const told = await Promise.all(ids.map((id) => scheduler.settled(id)));
  expect(told.map(({ status }) => status)).toEqual([
    'completed',
    'failed',
    'failed',
    'released',
    'dead',
    expect.stringMatching(/completed$/),
    'already_completed',
    'lease_lost',
  ]);
  for (const { durationMs } of told) expect(durationMs).toBeGreaterThanOrEqual(0);
  for (const { waitMs } of scheduler.eventsOf('job:started')) {
    expect(waitMs).toBeGreaterThanOrEqual(0);
    expect(waitMs).toBeLessThan(60_000);
  }
  expect(told[1]?.retryInMs).toBeGreaterThanOrEqual(0);
  expect(told[2]).toMatchObject({ error: 'no' });
  for (const { retryInMs } of told.slice(2, 4)) {
    expect(retryInMs).toBeGreaterThan(0);
    expect(retryInMs).toBeLessThanOrEqual(60_000);
  }
  expect(told[4]).toMatchObject({ error: 'as declared' });
  await scheduler.stop();
  expectPairs(scheduler);
});

test('S35 a handler that nothing ends has its one end when the scheduler stops', async () => {
  const queue = await createQueue();
  const gate = new Gate();
  const id = await client.enqueue(queue, 'hang');
  const scheduler = await startRecorded({
    connection: url,
    cancelGraceMs: 10,
    handlers: { [queue]: () => gate.pass() },
  });
  await until(() => gate.reached === 1);
  const { stuck } = await scheduler.stop({ graceMs: 0 });
  expect(stuck).toMatchObject([{ jobId: id }]);
  expect(scheduler.eventsOf('job:settled')).toMatchObject([{ jobId: id, status: 'unknown' }]);
  gate.open();
  await until(() => scheduler.running === 0);
  expectPairs(scheduler);
});

test('S35 nothing is told once the worker has stopped', async () => {
  const queue = await createQueue();
  const gate = new Gate();
  let signal: AbortSignal | undefined;
  await client.enqueue(queue, 'hang');
  const scheduler = await startRecorded({
    connection: url,
    cancelGraceMs: 10,
    handlers: {
      [queue]: (_, context) => {
        signal = context.signal;
        return gate.pass();
      },
    },
  });
  await until(() => gate.reached === 1);
  await scheduler.stop({ graceMs: 0 });
  // An hour later it is seen that the lease has run out.
  const clock = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 3_600_000);
  expect(signal?.aborted).toBe(true);
  clock.mockRestore();
  gate.open();
  await until(() => scheduler.running === 0);
  expect(scheduler.events.at(-1)).toMatchObject({ type: 'worker:stopped' });
});
