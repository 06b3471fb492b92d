import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { Client, type Context, type Job, LeaseholdError, Scheduler } from '../client/index.ts';
import { Pace } from '../client/link.ts';
import { Listener } from '../client/listener.ts';
import { createDatabase, withClient } from './support/database.ts';
import { startProxy } from './support/proxy.ts';
import { Gate, RecordedScheduler, startRecorded } from './support/recorded.ts';
import { until } from './support/wait.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url, application_name: 'test' });
afterAll(() => pool.end());
const client = new Client(pool);
let queues = 0;

async function createQueue(settings = {}): Promise<string> {
  const queue = `queue ${++queues}`;
  await client.createQueue(queue, settings);
  return queue;
}

async function proxied() {
  const proxy = await startProxy(url);
  onTestFinished(() => proxy.close());
  return proxy;
}

/** Resolves once the lease of a job has been renewed so many times from now on; rejects once it is gone. */
async function renewed(jobId: string, times: number): Promise<void> {
  const seen = new Set<string>();
  await until(async () => {
    const { rows } = await pool.query<{ at: string }>(
      'select heartbeat_at::text as at from leasehold.lease where job_id = $1',
      [jobId],
    );
    if (rows[0] === undefined) throw new Error(`job ${jobId} is not leased`);
    return seen.add(rows[0].at).size > times;
  });
}

/** Connections of one application, however many databases the server has. */
async function connectionsOf(applicationName: string): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    'select count(*)::int4 as count from pg_stat_activity where application_name = $1',
    [applicationName],
  );
  return rows[0]?.count ?? Number.NaN;
}

/** Resolves once an application has so many connections: the server sees the end of one a moment later. */
async function untilConnectionsOf(applicationName: string, count: number): Promise<void> {
  await until(async () => (await connectionsOf(applicationName)) === count);
}

/** Sessions that wait for a queue, and for no other, in this mode. */
async function waiting(queue: string, mode: 'told' | 'watching'): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    `select count(*)::int4 as count
     from pg_locks as held
     join leasehold.queue as queue on queue.queue_id = held.objid::int4
     where held.locktype = 'advisory'
       and held.database = (select oid from pg_database where datname = current_database())
       and queue.name = $1
       and case $2
         when 'watching' then
           held.classid::int4 = leasehold._watching_class() and held.mode = 'ExclusiveLock'
         else
           held.classid::int4 = leasehold._waiting_class() and held.mode = 'ShareLock'
       end`,
    [queue, mode],
  );
  return rows[0]?.count ?? Number.NaN;
}

/** A listener alone, and the types of its events. */
function listening(
  connectionString: string,
  queues: readonly string[],
  { probeMs = 30_000, deadlineMs = 5_000 } = {},
) {
  const events: string[] = [];
  const listener = new Listener({
    connection: { connectionString },
    workerId: randomUUID(),
    queues,
    probeMs,
    deadlineMs,
    pace: new Pace(),
    onEvent: ({ type }) => events.push(type),
    onReady: () => undefined,
    onCancel: () => undefined,
  });
  onTestFinished(() => listener.close(1000));
  return { listener, events, running: listener.run() };
}

async function untilTold(queue: string, sessions: number): Promise<void> {
  await until(async () => (await waiting(queue, 'told')) === sessions);
}

/** Has the database refuse a value of its own accord, as an extension might: a text with a butterfly. */
async function refuseButterflies(): Promise<void> {
  await pool.query(`
    create function refuse_butterfly() returns trigger language plpgsql as $$
    begin
      raise exception 'no butterflies' using errcode = 'untranslatable_character';
    end $$;
    create trigger refuse_butterfly before insert or update on leasehold.checkpoint
    for each row when (new.data::text like '%🦋%') execute function refuse_butterfly()`);
  onTestFinished(async () => {
    await pool.query('drop function refuse_butterfly() cascade');
  });
}

const named = (name: string) => ({ connectionString: url, application_name: name });

describe('slots', () => {
  test('a scheduler runs no more handlers than its concurrency, and leases no more jobs', async () => {
    const queue = await createQueue();
    await client.enqueueMany(
      queue,
      Array.from({ length: 60 }, (_, n) => ({ payload: n })),
    );
    let active = 0;
    let most = 0;
    let mostLeased = 0;
    const scheduler = await startRecorded({
      connection: url,
      concurrency: 4,
      handlers: {
        [queue]: async () => {
          most = Math.max(most, ++active);
          const [stats] = await client.queueStats(queue);
          mostLeased = Math.max(mostLeased, stats?.leased ?? 0);
          active--;
        },
      },
    });
    await until(() => scheduler.eventsOf('job:settled').length === 60);

    expect({ most, mostLeased }).toEqual({ most: 4, mostLeased: 4 });
    expect(new Set(scheduler.eventsOf('job:started').map(({ jobId }) => jobId)).size).toBe(60);
  });

  test('a busy scheduler leaves what it cannot start to others', async () => {
    const queue = await createQueue();
    await client.enqueueMany(
      queue,
      Array.from({ length: 10 }, (_, n) => ({ payload: n })),
    );
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: url,
      concurrency: 3,
      handlers: { [queue]: () => gate.pass() },
    });
    await until(() => gate.reached === 3);
    expect(scheduler.running).toBe(3);
    expect(await client.queueStats(queue)).toMatchObject([{ leased: 3, ready: 7 }]);

    const other = await startRecorded({
      connection: url,
      concurrency: 7,
      handlers: { [queue]: () => 'done' },
    });
    await until(() => other.eventsOf('job:settled').length === 7);
    expect(scheduler.running).toBe(3);
    gate.open();
    await until(() => scheduler.running === 0);
  });

  test('jobs much shorter than a call to the database are leased ahead, and each runs once', async () => {
    const queue = await createQueue();
    const { rows } = await pool.query('truncate leasehold.request');
    expect(rows).toEqual([]);
    await client.enqueueMany(
      queue,
      Array.from({ length: 5000 }, (_, n) => ({ payload: n })),
    );
    const ran = new Set<unknown>();
    let active = 0;
    let most = 0;
    const scheduler = await startRecorded({
      connection: url,
      concurrency: 10,
      handlers: {
        [queue]: async ({ payload }) => {
          most = Math.max(most, ++active);
          ran.add(payload);
          await undefined;
          active--;
        },
      },
    });
    await until(() => scheduler.eventsOf('job:settled').length === 5000);

    expect({ ran: ran.size, most }).toEqual({ ran: 5000, most: 10 });
    expect(scheduler.eventsOf('job:started')).toHaveLength(5000);
    const calls = await pool.query('select count(*)::int4 as count from leasehold.request');
    // One for one it would take 500.
    expect(calls.rows[0]?.count).toBeLessThan(250);
  });

  test('jobs that were leased ahead are handed back, free of charge, where handlers become slow', async () => {
    const queue = await createQueue();
    await client.enqueueMany(
      queue,
      Array.from({ length: 1200 }, (_, n) => ({ payload: n < 1000 ? 'quick' : 'slow' })),
    );
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: url,
      concurrency: 10,
      handlers: { [queue]: ({ payload }) => (payload === 'slow' ? gate.pass() : undefined) },
    });
    await scheduler.event('job:returned');
    await until(async () => {
      const [stats] = await client.queueStats(queue);
      return gate.reached === 10 && stats?.leased === 10 && stats.ready === 190;
    });

    const other = await startRecorded({
      connection: url,
      concurrency: 10,
      handlers: { [queue]: () => undefined },
    });
    await until(() => other.eventsOf('job:settled').length === 190);
    gate.open();
    await until(() => scheduler.running === 0);
    const [stats] = await client.queueStats(queue);
    expect(stats).toMatchObject({ ready: 0, leased: 0, completed: 1200 });
    const { rows } = await pool.query(
      'select sum(losses + failures)::int4 as spent from leasehold.finished',
    );
    expect(rows).toEqual([{ spent: 0 }]);
  });

  test('a scheduler asks for the next jobs while the last ones come, and hands all back when it stops', async () => {
    const queue = await createQueue();
    await client.enqueueMany(
      queue,
      Array.from({ length: 5000 }, (_, n) => ({ payload: n })),
    );
    const proxy = await proxied();
    const ran: unknown[] = [];
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 10,
      handlers: { [queue]: ({ payload }) => void ran.push(payload) },
    });
    await until(() => ran.length >= 200);
    // Two calls are under way: both are answered after stop().
    const late = proxy.plant({ sql: 'lease_jobs(', at: 'before-reply', deed: { delayMs: 100 } });
    await late.struck;
    await scheduler.stop();

    const [stats] = await client.queueStats(queue);
    expect(stats).toMatchObject({ leased: 0, completed: ran.length, ready: 5000 - ran.length });
    const { rows } = await pool.query(
      `select sum(losses + failures)::int4 as spent, sum(releases)::int4 > 0 as released
       from leasehold.peek($1, 'ready', 1000)`,
      [queue],
    );
    expect(rows).toEqual([{ spent: 0, released: true }]);
    const asked = proxy.statements.filter(({ text }) => text.includes('lease_jobs('));
    const overlaps = asked.filter(
      ({ sentAt }, n) => n > 0 && sentAt < (asked[n - 1]?.answeredAt ?? Infinity),
    );
    expect(overlaps.length).toBeGreaterThan(0);
  });

  test('calls that fail together do not hurry each other', async () => {
    const queue = await createQueue();
    const rename = async (from: string, to: string): Promise<void> => {
      await pool.query(`alter function leasehold.${from} rename to ${to}`);
    };
    await client.enqueueMany(
      queue,
      Array.from({ length: 10_000 }, (_, n) => ({ payload: n })),
    );
    const proxy = await proxied();
    let ran = 0;
    let renamed: Promise<void> | undefined;
    const scheduler = await startRecorded({
      connection: proxy.url,
      listenConnection: false,
      concurrency: 10,
      pollMs: 1000,
      handlers: {
        // In the middle of the drain, while two calls are under way.
        [queue]: () => {
          if (++ran === 1000) renamed = rename('lease_jobs', 'lease_jobs_away');
        },
      },
    });
    await until(() => renamed !== undefined);
    await renamed;
    const failures = () => scheduler.eventsOf('call:failed').length;
    await until(() => failures() > 0);
    const ticks = () => proxy.statements.filter(({ text }) => text.includes('tick(')).length;
    const before = ticks();
    await until(() => ticks() >= before + 4);
    // Two calls, each every half to whole second.
    expect(failures()).toBeLessThanOrEqual(20);
    await rename('lease_jobs_away', 'lease_jobs');
    await until(() => ran === 10_000);
  });

  test('a scheduler that has found all there is rests, however short its handlers were', async () => {
    const queue = await createQueue();
    await client.enqueueMany(
      queue,
      Array.from({ length: 2000 }, (_, n) => ({ payload: n })),
    );
    const proxy = await proxied();
    const scheduler = await startRecorded({
      connection: proxy.url,
      listenConnection: false,
      concurrency: 10,
      pollMs: 1000,
      handlers: { [queue]: () => undefined },
    });
    await until(() => scheduler.eventsOf('job:settled').length === 2000);
    const calls = (name: string) =>
      proxy.statements.filter(({ text }) => text.includes(`${name}(`)).length;
    const [looks, ticks] = [calls('lease_jobs'), calls('tick')];
    await until(() => calls('tick') >= ticks + 4);
    // Looks and ticks come every half to whole second, each in its own time.
    expect(calls('lease_jobs') - looks).toBeLessThanOrEqual(10);
  });

  test('queues of one scheduler take turns, however long the first one’s line is', async () => {
    const [a, b, c] = [await createQueue(), await createQueue(), await createQueue()];
    for (const queue of [a, b, c]) {
      await client.enqueueMany(
        queue,
        Array.from({ length: 5 }, () => ({ payload: null })),
      );
    }
    const order: string[] = [];
    const handler = ({ queue }: Job): void => void order.push(queue);
    const scheduler = await startRecorded({
      connection: url,
      concurrency: 1,
      handlers: { [a]: handler, [b]: handler, [c]: handler },
    });
    await until(() => scheduler.eventsOf('job:settled').length === 15);
    expect(order).toEqual(Array.from({ length: 5 }, () => [a, b, c]).flat());
  });

  test('jobs of one queue start by priority, then by age', async () => {
    const queue = await createQueue();
    await client.enqueueMany(queue, [
      { payload: 'c', priority: 5 },
      { payload: 'a', priority: 0 },
      { payload: 'd', priority: 5 },
      { payload: 'b', priority: 3 },
    ]);
    const order: unknown[] = [];
    const scheduler = await startRecorded({
      connection: url,
      concurrency: 1,
      handlers: { [queue]: ({ payload }) => void order.push(payload) },
    });
    await until(() => scheduler.eventsOf('job:settled').length === 4);
    expect(order).toEqual(['a', 'b', 'c', 'd']);
  });

  test('a scheduler has three connections, however many jobs it holds', async () => {
    const queue = await createQueue({ maxFailures: 1 });
    const name = 'three connections';
    const jobs = 300;
    await client.enqueueMany(
      queue,
      Array.from({ length: jobs }, (_, n) => ({ payload: n })),
    );
    const gate = new Gate();
    let most = 0;
    const scheduler = await startRecorded({
      connection: named(name),
      concurrency: jobs,
      leaseMs: 10_000,
      heartbeatMs: 1000,
      checkpointMs: 0,
      maintenanceMs: 50,
      handlers: {
        [queue]: async ({ payload }, context) => {
          await context.checkpoint({ payload });
          await gate.pass();
          if (payload % 3 === 1) throw new Error('one of three');
          if (payload % 3 === 2) context.release({ delayMs: 60_000 });
        },
      },
    });
    const look = async (): Promise<void> => {
      most = Math.max(most, await connectionsOf(name));
    };
    await until(async () => {
      await look();
      return gate.reached === jobs;
    });
    const [held] = await client.peek(queue, { state: 'leased', limit: 1 });
    await Promise.all([renewed(held?.jobId ?? '', 2), look()]);
    gate.open();
    await until(async () => {
      await look();
      // Those that failed come back, and are settled again.
      return scheduler.eventsOf('job:settled').length >= jobs;
    });
    expect(most).toBe(3);
    await scheduler.stop();
    await untilConnectionsOf(name, 0);
  });
});

describe('handlers', () => {
  test('a handler gets the job, its fence and a token that proves the lease', async () => {
    const queue = await createQueue();
    const seen: { job: Job; context: Context }[] = [];
    const id = await client.enqueue(queue, { a: [1] }, { headers: { h: true }, priority: 7 });
    const scheduler = await startRecorded({
      connection: url,
      leaseMs: 30_000,
      handlers: {
        [queue]: async (job, context) => {
          seen.push({ job, context });
          await client.assertLease(job.id, context.token);
          expect(context.remainingMs()).toBeGreaterThan(10_000);
          expect(context.remainingMs()).toBeLessThan(30_000);
          expect(context.signal.aborted).toBe(false);
          return { answer: 42 };
        },
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'completed', late: false, queue });
    expect(seen[0]?.job).toEqual({
      id,
      queue,
      payload: { a: [1] },
      headers: { h: true },
      priority: 7,
      attempt: 1,
      failures: 0,
      losses: 0,
      checkpoint: undefined,
      enqueuedAt: expect.any(Date),
    });
    expect(seen[0]?.context.fence).toEqual(expect.any(BigInt));
    expect(await client.job(id)).toMatchObject({ state: 'completed', result: { answer: 42 } });
  });

  test.each<[string, (context: Context) => void, object, object]>([
    [
      'fail',
      (context) => context.fail(new Error('as said'), { retryInMs: 60_000 }),
      { status: 'failed' },
      { state: 'scheduled', failures: 1, history: [{ error: expect.stringContaining('as said') }] },
    ],
    [
      'fail for good',
      (context) => context.fail('hopeless', { retryable: false }),
      { status: 'dead' },
      { state: 'dead', reason: 'not_retryable', history: [{ error: 'hopeless' }] },
    ],
    [
      'release',
      (context) => context.release({ delayMs: 60_000 }),
      { status: 'released' },
      { state: 'scheduled', releases: 1, failures: 0, losses: 0 },
    ],
    [
      'deadLetter',
      (context) => context.deadLetter('no use'),
      { status: 'dead' },
      { state: 'dead', reason: 'no use', failures: 0 },
    ],
  ])('%s counts, whether the handler returns or throws after it', async (_, say, settled, job) => {
    const queue = await createQueue();
    const returns = await client.enqueue(queue, 'returns');
    const throws = await client.enqueue(queue, 'throws');
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: ({ payload }, context) => {
          say(context);
          context.deadLetter('said later, which does not count');
          if (payload === 'throws') throw new Error('thrown after it was said');
          return 'returned after it was said';
        },
      },
    });
    for (const id of [returns, throws]) {
      expect(await scheduler.settled(id)).toMatchObject(settled);
      expect(await client.job(id)).toMatchObject({ ...job, result: undefined });
    }
  });

  test('completeIn commits the completion with the handler’s own rows', async () => {
    const queue = await createQueue();
    await pool.query('create table if not exists effect (job_id bigint)');
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: (job, context) =>
          withClient(url, async (transaction) => {
            await transaction.query('begin');
            await transaction.query('insert into effect values ($1)', [job.id]);
            await context.completeIn(transaction, 'in the transaction');
            expect(await client.job(job.id)).toMatchObject({ state: 'leased' });
            await transaction.query('commit');
            return 'returned, which comes second';
          }),
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'already_completed' });
    expect(await client.job(id)).toMatchObject({
      state: 'completed',
      result: 'in the transaction',
    });
    const { rows } = await pool.query('select job_id from effect where job_id = $1', [id]);
    expect(rows).toHaveLength(1);
  });

  test('completeIn leaves nothing behind when the handler’s transaction rolls back', async () => {
    const queue = await createQueue();
    await pool.query('create table if not exists undone (job_id bigint)');
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: ({ id: jobId, attempt }, context) =>
          withClient(url, async (transaction) => {
            await transaction.query('begin');
            await transaction.query('insert into undone values ($1)', [jobId]);
            await context.completeIn(transaction);
            if (attempt === 1) {
              await transaction.query('rollback');
              context.fail('rolled back', { retryInMs: 0 });
              return;
            }
            await transaction.query('commit');
          }),
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'failed' });
    expect(await scheduler.settled(id, 2)).toMatchObject({ status: 'already_completed' });
    const { rows } = await pool.query('select job_id from undone where job_id = $1', [id]);
    expect(rows).toHaveLength(1);
    expect(await client.job(id)).toMatchObject({ state: 'completed', failures: 1 });
  });

  test('completeIn works where the queue keeps nothing', async () => {
    const queue = await createQueue({ keepCompletedMs: 0 });
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: (_, context) =>
          withClient(url, async (transaction) => {
            await transaction.query('begin');
            await context.completeIn(transaction);
            await transaction.query('commit');
          }),
      },
    });
    await scheduler.settled(id);
    expect(scheduler.eventsOf('outcome:refused')).toEqual([]);
    await expect(client.job(id)).rejects.toMatchObject({ code: 'job_not_found' });
    expect(await client.queueStats(queue)).toMatchObject([{ leased: 0, ready: 0, pruned: 1 }]);
  });

  test('a transaction of the handler that stays open does not stop the other renewals', async () => {
    const queue = await createQueue();
    const slow = await client.enqueue(queue, 'slow');
    const neighbour = await client.enqueue(queue, 'neighbour');
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: url,
      leaseMs: 5000,
      heartbeatMs: 800,
      handlers: {
        [queue]: async ({ id, payload }, context) => {
          if (payload === 'neighbour') return gate.pass();
          await withClient(url, async (transaction) => {
            await transaction.query('begin');
            await client.using(transaction).assertLease(id, context.token);
            await renewed(neighbour, 2);
            await transaction.query('commit');
          });
          gate.open();
        },
      },
    });
    expect(await scheduler.settled(slow)).toMatchObject({ status: 'completed' });
    expect(await scheduler.settled(neighbour)).toMatchObject({ status: 'completed' });
    expect(scheduler.eventsOf('job:lost')).toEqual([]);
  });

  test('what a handler threw is described, whatever it is', async () => {
    const queue = await createQueue();
    const circular: { self?: unknown } = {};
    circular.self = circular;
    const cause = new Error('a ring');
    cause.cause = cause;
    const thrown: [unknown, RegExp][] = [
      [new Error('ordinary'), /Error: ordinary\n/],
      ['a string', /^a string$/],
      [undefined, /^undefined$/],
      [null, /^null$/],
      [0, /^0$/],
      [12n, /./],
      [Symbol('s'), /./],
      [{ code: 7 }, /^\{"code":7\}$/],
      [circular, /./],
      [cause, /a ring/],
      [Object.create(null), /./],
      [
        {
          get message() {
            throw new Error('getter');
          },
        },
        /./,
      ],
      [
        Object.defineProperty(new Error('m'), 'stack', {
          get() {
            throw new Error('stack');
          },
        }),
        /./,
      ],
      [Object.assign(new Error(''), { stack: undefined }), /^Error$/],
      [
        new Proxy(
          {},
          {
            getPrototypeOf() {
              throw new Error('trap');
            },
          },
        ),
        /./,
      ],
      ['nul \0, half \ud800', /^nul \uFFFD, half \uFFFD$/],
      [new Error('x'.repeat(1e8)), /^Error: xxx/],
      [Object.assign(new Error('e'), { stack: 5 }), /^5$/],
    ];
    const ids = await client.enqueueMany(
      queue,
      thrown.map((_, payload) => ({ payload })),
    );
    const scheduler = await startRecorded({
      connection: url,
      concurrency: 5,
      handlers: {
        [queue]: ({ payload }) => {
          throw thrown[payload]?.[0];
        },
      },
    });
    for (const [index, id] of ids.entries()) {
      expect(await scheduler.settled(id)).toMatchObject({ status: 'failed' });
      const { error = '' } = (await client.job(id)).history[0] ?? {};
      expect(error).toMatch(thrown[index]?.[1] ?? /never/);
      expect(error.length).toBeLessThanOrEqual(16_384);
    }
  });

  test('a result that cannot be stored makes its job dead, and no other', async () => {
    const queue = await createQueue();
    const circular: { self?: unknown } = {};
    circular.self = circular;
    const results: [unknown, RegExp | undefined][] = [
      ['fine', undefined],
      [1n, /BigInt/],
      [circular, /circular/],
      ['\0', /NUL/],
      [{ deep: ['\udfff'] }, /surrogate/],
      ['x'.repeat(1_048_576), /1048576 bytes/],
      // Shorter than the limit as JavaScript writes it, longer as PostgreSQL does.
      [Array.from({ length: 500_000 }, () => 1), /1048576 bytes/],
      [Array.from({ length: 10_000 }, () => 1e300), /1048576 bytes/],
      [undefined, undefined],
      ['also fine', undefined],
    ];
    const ids = await client.enqueueMany(
      queue,
      results.map((_, payload) => ({ payload })),
    );
    const scheduler = await startRecorded({
      connection: url,
      concurrency: results.length,
      handlers: { [queue]: ({ payload }) => results[payload]?.[0] },
    });
    for (const [index, id] of ids.entries()) {
      const [result, error] = results[index] ?? [];
      await scheduler.settled(id);
      expect(await client.job(id)).toMatchObject(
        error === undefined
          ? { state: 'completed', result }
          : { state: 'dead', failures: 0, reason: expect.stringMatching(error) },
      );
    }
    expect(scheduler.eventsOf('outcome:undeliverable')).toEqual([]);
  });

  test.each<[string, unknown]>([
    ['in JavaScript', 'x'.repeat(1_048_576)],
    ['as PostgreSQL writes it', Array.from({ length: 500_000 }, () => 1)],
    ['with numbers of many digits', Array.from({ length: 10_000 }, () => 1e300)],
  ])('a checkpoint too large %s is refused, and costs no neighbour its lease', async (_, data) => {
    const queue = await createQueue();
    const neighbour = await client.enqueue(queue, 'neighbour');
    const guilty = await client.enqueue(queue, 'guilty');
    const gate = new Gate();
    let refusal: unknown;
    const scheduler = await startRecorded({
      connection: url,
      leaseMs: 5000,
      heartbeatMs: 800,
      checkpointMs: 0,
      handlers: {
        [queue]: async ({ payload }, context) => {
          if (payload === 'guilty') {
            refusal = await context.checkpoint(data).catch((error: unknown) => error);
          }
          await gate.pass();
        },
      },
    });
    await until(() => gate.reached === 2);
    await renewed(neighbour, 2);
    gate.open();
    expect(await scheduler.settled(neighbour)).toMatchObject({ status: 'completed', late: false });
    expect(await scheduler.settled(guilty)).toMatchObject({ status: 'completed' });
    expect(scheduler.eventsOf('job:lost')).toEqual([]);
    expect(refusal).toBeInstanceOf(LeaseholdError);
    expect(refusal).toMatchObject({ code: 'payload_too_large' });
  });

  test('a checkpoint that only the database refuses costs no lease and no other checkpoint', async () => {
    await refuseButterflies();
    const queue = await createQueue();
    const neighbour = await client.enqueue(queue, 'neighbour');
    const guilty = await client.enqueue(queue, 'guilty');
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: url,
      leaseMs: 5000,
      heartbeatMs: 800,
      checkpointMs: 0,
      handlers: {
        [queue]: async ({ payload }, context) => {
          await context.checkpoint(payload === 'guilty' ? '🦋' : 'grün');
          await gate.pass();
          // Both at once, so that they go together.
          await context.checkpoint(payload === 'guilty' ? '🦋🦋' : 'grüner');
        },
      },
    });
    await until(async () => (await client.job(neighbour)).checkpoint === 'grün');
    await renewed(neighbour, 2);
    await renewed(guilty, 2);
    gate.open();
    expect(await scheduler.settled(neighbour)).toMatchObject({ status: 'completed', late: false });
    expect(await scheduler.settled(guilty)).toMatchObject({ status: 'completed', late: false });
    expect((await client.job(neighbour)).checkpoint).toBe('grüner');
    expect(scheduler.eventsOf('job:lost')).toEqual([]);
    expect(scheduler.eventsOf('call:failed').map(({ call }) => call)).toContain('heartbeat');
  });

  test('a checkpoint that is waited for lets go when the lease is lost', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    let reason: unknown;
    const scheduler = await startRecorded({
      connection: url,
      leaseMs: 5000,
      heartbeatMs: 800,
      cancelGraceMs: 60_000,
      handlers: {
        [queue]: async ({ attempt }, context) => {
          if (attempt > 1) return;
          // Somebody else takes the job away.
          await pool.query('delete from leasehold.lease where job_id = $1', [id]);
          const flush = (data: unknown) => context.checkpoint(data, { flush: true });
          await expect(flush({ never: true })).rejects.toMatchObject({ code: 'lease_lost' });
          await expect(flush({ nor: 'this' })).rejects.toMatchObject({ code: 'lease_lost' });
          reason = context.signal.reason;
        },
      },
    });
    await until(() => reason !== undefined);
    expect(reason).toMatchObject({ code: 'lease_lost' });
    await until(() => scheduler.running === 0);
  });
});

describe('outcomes', () => {
  test('an outcome is fixed once the handler has returned: only its delivery is repeated', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const faults = [
      proxy.plant({ sql: 'leasehold.complete_many(', at: 'before-query', deed: 'rst', times: 2 }),
      proxy.plant({ sql: 'leasehold.complete_many(', at: 'before-reply', deed: 'rst', nth: 3 }),
    ];
    const id = await client.enqueue(queue, {});
    let runs = 0;
    const scheduler = await startRecorded({
      connection: proxy.url,
      handlers: { [queue]: () => ++runs },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'already_completed' });
    expect(faults.map(({ fired }) => fired)).toEqual([2, 1]);
    expect(runs).toBe(1);
    expect(await client.job(id)).toMatchObject({ state: 'completed', result: 1, failures: 0 });
    expect(scheduler.eventsOf('call:failed').map(({ call }) => call)).toContain('settle');
  });

  test('the last checkpoint is saved though a transaction holds the lease when the attempt ends', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const id = await client.enqueue(queue, {});
    const transaction = await pool.connect();
    const scheduler = await startRecorded({
      connection: proxy.url,
      leaseMs: 60_000,
      // The heart carries none before the attempt ends.
      checkpointMs: 600_000,
      handlers: {
        [queue]: async (_, context) => {
          await transaction.query('begin');
          await context.completeIn(transaction);
          await context.checkpoint('the last');
          context.fail('as said', { retryInMs: 60_000 });
        },
      },
    });
    // It was told that the lease is held.
    await until(() =>
      proxy
        .seen('heartbeat_many(')
        .some(({ connection, answeredAt }) => connection.role === 'work' && answeredAt),
    );
    await transaction.query('rollback');
    transaction.release();
    expect(await scheduler.settled(id)).toMatchObject({ status: 'failed' });
    expect((await client.job(id)).checkpoint).toBe('the last');
  });

  test.each(['before', 'after'])(
    'a lease given up while its renewal was under way is released, the handler having ended %s the answer',
    async (when) => {
      const queue = await createQueue();
      const proxy = await proxied();
      const id = await client.enqueue(queue, {});
      const scheduler = await startRecorded({
        connection: proxy.url,
        leaseMs: 60_000,
        callTimeoutMs: 10_000,
        handlers: {
          [queue]: async ({ attempt }, { signal, checkpoint, remainingMs }) => {
            if (attempt > 1) return;
            void checkpoint('to be sent at once', { flush: true });
            await new Promise((resolve) => signal.addEventListener('abort', resolve));
            if (when === 'after') await until(() => remainingMs() > 0);
            throw signal.reason;
          },
        },
      });
      const fault = proxy.plant({
        sql: 'heartbeat_many(',
        at: 'before-reply',
        deed: { delayMs: 2000 },
      });
      await fault.struck;
      // The machine was asleep for an hour, as far as it knows: the lease may be anybody's.
      const clock = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 3_600_000);
      await scheduler.event('job:lost');
      clock.mockRestore();
      expect(await scheduler.settled(id)).toMatchObject({ status: 'released' });
      await scheduler.settled(id, 2);
      expect(await client.job(id)).toMatchObject({ state: 'completed', releases: 1, losses: 0 });
    },
  );

  test('a cancel that comes after the handler has returned does not undo its outcome', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const fault = proxy.plant({
      sql: 'leasehold.complete_many(',
      at: 'before-query',
      deed: { delayMs: 500 },
    });
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: proxy.url,
      leaseMs: 6000,
      handlers: { [queue]: () => 'done' },
    });
    await fault.struck;
    expect(await client.cancel(id)).toBe('requested');
    expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
    expect(await client.job(id)).toMatchObject({ state: 'completed', result: 'done' });
  });

  test('an observer that throws changes nothing', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const told: string[] = [];
    const scheduler = new Scheduler({
      connection: url,
      handlers: { [queue]: () => 'done' },
      onEvent: ({ type }) => {
        told.push(type);
        throw new Error(`observed ${type}`);
      },
    });
    await scheduler.start();
    await until(async () => (await client.job(id)).state === 'completed');
    expect(await scheduler.stop()).toEqual({ stuck: [], undelivered: [] });
    expect(told).toEqual(
      expect.arrayContaining(['worker:started', 'job:started', 'job:settled', 'worker:stopped']),
    );
  });
});

describe('start and stop', () => {
  test('a scheduler without a handler cannot be made', () => {
    expect(() => new Scheduler({ connection: url, handlers: {} })).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
  });

  test('a scheduler starts once', async () => {
    const scheduler = await startRecorded({
      connection: url,
      handlers: { [await createQueue()]: () => 'done' },
    });
    await expect(scheduler.start()).rejects.toMatchObject({ code: 'invalid_argument' });
    await scheduler.stop();
    await expect(scheduler.start()).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  test('stop works before start, which is refused from then on', async () => {
    const scheduler = new Scheduler({
      connection: named('never started'),
      handlers: { [await createQueue()]: () => 'done' },
    });
    expect(await scheduler.stop()).toEqual({ stuck: [], undelivered: [] });
    await expect(scheduler.start()).rejects.toMatchObject({ code: 'invalid_argument' });
    await untilConnectionsOf('never started', 0);
  });

  test('stop gives the same promise however often it is called', async () => {
    const scheduler = await startRecorded({
      connection: url,
      handlers: { [await createQueue()]: () => 'done' },
    });
    const stopped = scheduler.stop();
    expect(scheduler.stop({ graceMs: 0 })).toBe(stopped);
    await stopped;
    expect(scheduler.stop()).toBe(stopped);
    expect(scheduler.eventsOf('worker:stopped')).toHaveLength(1);
  });

  test('stop takes the worker out of the registry', async () => {
    const queue = await createQueue();
    const scheduler = await startRecorded({
      connection: url,
      handlers: { [queue]: () => 'done' },
    });
    expect(await client.queueStats(queue)).toMatchObject([{ workers: 1 }]);
    await scheduler.stop();
    expect(await client.queueStats(queue)).toMatchObject([{ workers: 0 }]);
  });

  test('start waits for a database that is down, and works once it is up', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const proxy = await proxied();
    proxy.refuse();
    const scheduler = new RecordedScheduler({
      connection: proxy.url,
      handlers: { [queue]: () => 'done' },
    });
    const started = scheduler.start();
    await until(() => scheduler.eventsOf('call:failed').length >= 2);
    expect(scheduler.eventsOf('call:failed').every(({ call }) => call === 'start')).toBe(true);
    expect(scheduler.eventsOf('worker:started')).toEqual([]);

    proxy.heal();
    await started;
    await scheduler.settled(id);
  });

  test('stop ends a start that waits for a database', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    proxy.refuse();
    const scheduler = new RecordedScheduler({
      connection: proxy.url,
      handlers: { [queue]: () => 'done' },
    });
    const started = scheduler.start();
    await until(() => proxy.refused > 0);
    await scheduler.stop();
    await started;
    expect(scheduler.eventsOf('worker:started')).toEqual([]);
  });

  test('start rejects where none of its queues exists, and leaves nothing open', async () => {
    const scheduler = new RecordedScheduler({
      connection: named('no such queue'),
      handlers: { 'no such queue': () => 'done', 'nor this one': () => 'done' },
    });
    await expect(scheduler.start()).rejects.toMatchObject({
      code: 'queue_not_found',
      message: expect.stringContaining('no such queue'),
      hint: expect.stringContaining('create_queue'),
    });
    expect(scheduler.eventsOf('worker:started')).toEqual([]);
    await untilConnectionsOf('no such queue', 0);
    const { rows } = await pool.query('select from leasehold.worker where worker_id = $1', [
      scheduler.workerId,
    ]);
    expect(rows).toHaveLength(0);
  });

  test('start rejects with the driver’s error where the login is refused', async () => {
    const wrong = new URL(url);
    wrong.username = 'nobody_of_that_name';
    const scheduler = new RecordedScheduler({
      connection: wrong.href,
      handlers: { q: () => 'done' },
    });
    await expect(scheduler.start()).rejects.toMatchObject({ code: expect.stringMatching(/^28/) });
  });
});

describe('finding jobs', () => {
  test('a notification wakes a scheduler long before its next poll', async () => {
    const queue = await createQueue();
    const scheduler = await startRecorded({
      connection: url,
      pollMs: 60_000,
      maintenanceMs: 0,
      handlers: { [queue]: () => 'done' },
    });
    await scheduler.event('listener:connected');
    // The job before is done, so it has looked after it began to listen.
    await scheduler.settled(await client.enqueue(queue, 1));
    for (let n = 0; n < 3; n++) {
      const sentAt = performance.now();
      const id = await client.enqueue(queue, n);
      await scheduler.settled(id);
      expect(performance.now() - sentAt).toBeLessThan(10_000);
    }
  });

  test('a job that becomes due is found without a poll', async () => {
    const queue = await createQueue();
    const scheduler = await startRecorded({
      connection: url,
      pollMs: 60_000,
      handlers: { [queue]: () => 'done' },
    });
    const sentAt = performance.now();
    const id = await client.enqueue(queue, {}, { delayMs: 500 });
    await scheduler.settled(id);
    expect(performance.now() - sentAt).toBeGreaterThan(490);
    expect(performance.now() - sentAt).toBeLessThan(10_000);
  });

  test('a job announced to a scheduler that has just taken another goes to the next one', async () => {
    const queue = await createQueue();
    let gate = new Gate();
    await Promise.all(
      Array.from({ length: 3 }, async () => {
        const scheduler = await startRecorded({
          connection: url,
          concurrency: 1,
          pollMs: 3_600_000,
          maintenanceMs: 0,
          handlers: { [queue]: () => gate.pass() },
        });
        await scheduler.event('listener:connected');
      }),
    );
    for (let round = 0; round < 10; round++) {
      await untilTold(queue, 3);
      gate = new Gate();
      await Promise.all(Array.from({ length: 3 }, () => client.enqueue(queue, round)));
      await until(() => gate.reached === 3);
      gate.open();
      await until(async () => (await client.queueStats(queue))[0]?.leased === 0);
    }
  });

  test('a watch whose answer comes after the session has set off is not kept', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const { listener } = listening(proxy.url, [queue]);
    await until(() => listener.waiting.ask());
    const late = proxy.plant({ sql: 'set_waiting(', at: 'before-reply', deed: { delayMs: 200 } });
    const watching = listener.waiting.watch();
    await late.struck;
    expect(await waiting(queue, 'watching')).toBe(1);
    listener.waiting.off();
    expect(await watching).toBe(false);
    await until(
      async () => (await waiting(queue, 'watching')) + (await waiting(queue, 'told')) === 0,
    );
    expect(listener.waiting.mode).toBe('off');
  });

  test('being told is not kept if the answer comes after the session has set off', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const { listener } = listening(proxy.url, [queue]);
    await until(() => listener.waiting.ask());
    listener.waiting.off();
    const late = proxy.plant({
      sql: 'set_waiting(',
      nth: 2,
      at: 'before-reply',
      deed: { delayMs: 200 },
    });
    const told = listener.waiting.ask();
    await late.struck;
    listener.waiting.off();
    expect(await told).toBe(false);
    await until(async () => (await waiting(queue, 'told')) === 0);
    expect(listener.waiting.mode).toBe('off');
  });

  test.each(['told', 'watching'] as const)(
    'S24 a session that hears nothing any more while it is %s keeps nothing from others',
    async (mode) => {
      const queue = await createQueue();
      const proxy = await proxied();
      const often = { probeMs: 100, deadlineMs: 3000 };
      const { listener, events } = listening(proxy.url, [queue], often);
      await until(() => listener.waiting.ask());
      if (mode === 'watching') await until(() => listener.waiting.watch());
      expect(await waiting(queue, mode)).toBe(1);
      proxy.dropNotifications = true;
      await until(() => events.includes('listener:deaf'));
      await until(async () => (await waiting(queue, mode)) === 0);
      // It has nothing left to lose: it keeps its next connection, and polls.
      const probes = proxy.seen('pg_notify').length;
      await until(() => proxy.seen('pg_notify').length > probes + 1);
      expect(await listener.waiting.ask()).toBe(false);
      expect(events.filter((type) => type === 'listener:lost')).toHaveLength(1);
      proxy.dropNotifications = false;
      await until(() => listener.waiting.ask());
    },
  );

  test('S05 a listener that is closed while it waits to hear itself waits for nothing more', async () => {
    const proxy = await proxied();
    proxy.dropNotifications = true;
    const { listener, running } = listening(proxy.url, ['none'], { probeMs: 3_600_000 });
    await until(() => proxy.seen('pg_notify')[0]?.answeredAt !== undefined);
    await listener.close(1000);
    await running;
  });

  test('a session whose locks are not known any more is given up', async () => {
    const queue = await createQueue();
    const { listener, events } = listening(url, [queue, null as unknown as string]);
    await until(() => events.includes('listener:connected'));
    await until(async () => {
      await listener.waiting.ask();
      return events.filter((type) => type === 'listener:connected').length > 1;
    });
    // For a while it does without, rather than connect again and again.
    expect(await listener.waiting.ask()).toBe(false);
    expect(events.filter((type) => type === 'listener:lost')).toHaveLength(1);
    expect(await waiting(queue, 'told')).toBe(0);
  });

  test('a scheduler whose session was ended as it asked to be told asks on the next one', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const late = proxy.plant({ sql: 'set_waiting(', at: 'before-query', deed: { delayMs: 300 } });
    const scheduler = await startRecorded({
      connection: url,
      listenConnection: proxy.url,
      pollMs: 3_600_000,
      maintenanceMs: 0,
      handlers: { [queue]: () => 'done' },
    });
    await late.struck;
    await until(async () => {
      const { rows } = await pool.query<{ count: number }>(
        `select count(pg_terminate_backend(pid))::int4 as count
         from pg_stat_activity
         where datname = current_database() and query = 'select pg_catalog.pg_notify($1, $2)'`,
      );
      return rows[0]?.count === 1;
    });
    await scheduler.event('listener:lost');
    await untilTold(queue, 1);
    await client.enqueue(queue, 1);
    await scheduler.event('job:settled');
  });

  test('a scheduler that stops leaves to others what becomes ready while its handlers end', async () => {
    const queue = await createQueue();
    const gate = new Gate();
    const start = () =>
      startRecorded({
        connection: url,
        concurrency: 4,
        pollMs: 3_600_000,
        maintenanceMs: 0,
        handlers: { [queue]: ({ payload }) => (payload === 'long' ? gate.pass() : 'done') },
      });
    const leaving = await start();
    await client.enqueue(queue, 'long');
    await until(() => gate.reached === 1);
    const staying = await start();
    await untilTold(queue, 2);

    const stopped = leaving.stop({ graceMs: 60_000 });
    for (let n = 0; n < 20; n++) await staying.settled(await client.enqueue(queue, 'short'));
    gate.open();
    expect(await stopped).toEqual({ stuck: [], undelivered: [] });
  });

  test('jobs that come all the time are looked for and not announced, and none is missed', async () => {
    const queue = await createQueue();
    const schedulers = await Promise.all(
      Array.from({ length: 3 }, () =>
        startRecorded({
          connection: url,
          // More than can ever be needed: who is full does not watch.
          concurrency: 20,
          // An enqueue whose commit takes long is announced to nobody.
          pollMs: 5_000,
          maintenanceMs: 0,
          handlers: { [queue]: ({ payload }) => sleep(payload as number) },
        }),
      ),
    );
    const ids: string[] = [];
    for (let burst = 0; burst < 4; burst++) {
      await untilTold(queue, schedulers.length);
      await until(async () => (await waiting(queue, 'watching')) === 0);
      let isWatched = false;
      const producer = async (): Promise<void> => {
        while (!isWatched) {
          ids.push(await client.enqueue(queue, Math.round(Math.random() * 8)));
          await sleep(1);
        }
      };
      const watching = until(async () => (await waiting(queue, 'watching')) > 0).then(() => {
        isWatched = true;
      });
      await Promise.all([producer(), producer(), producer(), watching]);
    }
    await until(async () => (await client.queueStats(queue))[0]?.completed === ids.length);
    await untilTold(queue, schedulers.length);
    await until(async () => (await waiting(queue, 'watching')) === 0);
  });

  test('a queue that is resumed wakes the scheduler', async () => {
    const queue = await createQueue();
    await client.pauseQueue(queue);
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      pollMs: 60_000,
      handlers: { [queue]: () => 'done' },
    });
    await scheduler.event('listener:connected');
    await client.resumeQueue(queue);
    await scheduler.settled(id);
  });

  test('without a listener jobs are found by polling, over two connections', async () => {
    const queue = await createQueue();
    const scheduler = await startRecorded({
      connection: named('only polls'),
      listenConnection: false,
      pollMs: 200,
      maintenanceMs: 0,
      handlers: { [queue]: () => 'done' },
    });
    for (let n = 0; n < 3; n++) await scheduler.settled(await client.enqueue(queue, n));
    await untilConnectionsOf('only polls', 2);
    expect(scheduler.eventsOf('listener:connected')).toEqual([]);
  });
});
