import pg from 'pg';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { Client, type Context, type Job, Scheduler, type StopResult } from '../../client/index.ts';
import { sharesOf } from '../../client/shares.ts';
import { createDatabase, createServer } from '../support/database.ts';
import { type DatabaseProxy, startProxy } from '../support/proxy.ts';
import { Gate, RecordedScheduler, startRecorded, TSX_THREADS } from '../support/recorded.ts';
import { startStandby } from '../support/standby.ts';
import { until } from '../support/wait.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
afterAll(() => pool.end());
const client = new Client(pool);
let queues = 0;

async function createQueue(settings = {}): Promise<string> {
  const queue = `queue ${++queues}`;
  await client.createQueue(queue, settings);
  return queue;
}

/** Tests that run beside others say themselves when they are over. */
type WhenOver = typeof onTestFinished;

async function proxied(whenOver: WhenOver = onTestFinished): Promise<DatabaseProxy> {
  const proxy = await startProxy(url);
  whenOver(() => proxy.close());
  return proxy;
}

/** The SQLSTATE of an error, ours or the driver's. */
function sqlstateOf(error: unknown): unknown {
  const { sqlstate, code } = error as { sqlstate?: unknown; code?: unknown };
  return sqlstate ?? code;
}

function isReadOnly({ error }: { error: unknown }): boolean {
  return ['LH007', '25006'].includes(String(sqlstateOf(error)));
}

describe('S12 a queue that is missing', () => {
  test('S12 a queue that is dropped does not keep a scheduler from the others', async () => {
    const [kept, dropped] = [await createQueue(), await createQueue()];
    const options = {
      connection: url,
      pollMs: 50,
      leaseMs: 9000,
      handlers: { [dropped]: () => 'done', [kept]: () => 'done' },
    };
    const scheduler = await startRecorded(options);
    await client.dropQueue(dropped);
    await scheduler.settled(await client.enqueue(kept, {}));
    await scheduler.event('queue:missing', ({ queue }) => queue === dropped);
    await scheduler.settled(await client.enqueue(kept, {}));

    await client.createQueue(dropped);
    await scheduler.event('queue:found', ({ queue }) => queue === dropped);
    await scheduler.settled(await client.enqueue(dropped, {}));
    expect(scheduler.eventsOf('queue:missing')).toHaveLength(1);
    expect(scheduler.eventsOf('queue:found')).toHaveLength(1);
    expect(scheduler.eventsOf('call:failed')).toEqual([]);
  });

  test('S12 a queue with a limit of its own that is dropped does not keep a scheduler from the others', async () => {
    const [kept, dropped] = [await createQueue(), await createQueue()];
    const scheduler = await startRecorded({
      connection: url,
      pollMs: 50,
      leaseMs: 9000,
      handlers: { [dropped]: { concurrency: 1, handler: () => 'done' }, [kept]: () => 'done' },
    });
    await client.dropQueue(dropped);
    await scheduler.event('queue:missing', ({ queue }) => queue === dropped);
    await scheduler.settled(await client.enqueue(kept, {}));

    await client.createQueue(dropped);
    await scheduler.settled(await client.enqueue(dropped, {}));
    await scheduler.event('queue:found', ({ queue }) => queue === dropped);
    expect(scheduler.eventsOf('queue:missing')).toHaveLength(1);
    expect(scheduler.eventsOf('call:failed')).toEqual([]);
  });

  test('S12 a queue with a limit of its own that is missing is not asked for with each job of the others', async () => {
    const kept = await createQueue();
    const proxy = await proxied();
    const scheduler = await startRecorded({
      connection: proxy.url,
      pollMs: 3_600_000,
      maintenanceMs: 0,
      handlers: {
        [`${kept} of tomorrow`]: { concurrency: 1, handler: () => 'done' },
        [kept]: () => 'done',
      },
    });
    const jobs = 20;
    for (let job = 0; job < jobs; job++) await scheduler.settled(await client.enqueue(kept, {}));
    expect(proxy.seen('register_worker').length).toBeLessThan(jobs / 2);
  });

  test('S12 a scheduler starts though a queue is missing, says so once, and serves it once it is there', async () => {
    const kept = await createQueue();
    const missing = `${kept} of tomorrow`;
    const scheduler = new RecordedScheduler({
      connection: url,
      pollMs: 50,
      leaseMs: 9000,
      handlers: { [missing]: () => 'done', [kept]: () => 'done' },
    });
    await scheduler.start();
    expect(scheduler.eventsOf('queue:missing')).toEqual([
      { type: 'queue:missing', queue: missing },
    ]);
    await scheduler.settled(await client.enqueue(kept, {}));
    await client.createQueue(missing);
    await scheduler.settled(await client.enqueue(missing, {}));
    await scheduler.event('queue:found', ({ queue }) => queue === missing);
    expect(scheduler.eventsOf('queue:missing')).toHaveLength(1);
  });

  test('S12 a scheduler whose only queue is dropped says so once, and goes on once it is back', async () => {
    const queue = await createQueue();
    const scheduler = await startRecorded({
      connection: url,
      pollMs: 50,
      handlers: { [queue]: () => 'done' },
    });
    await client.dropQueue(queue);
    await scheduler.event('queue:missing');
    await client.createQueue(queue);
    await scheduler.settled(await client.enqueue(queue, {}));
    await scheduler.event('queue:found');
    expect(scheduler.eventsOf('queue:missing')).toHaveLength(1);
    expect(scheduler.eventsOf('call:failed')).toEqual([]);
  });
});

// Most of it is waiting: side by side.
describe.concurrent('side by side', () => {
  /** What is said of stop: the grace and two seconds; and what a busy machine may add. */
  const BOUND_MS = 2000 + 4000;

  /** Stops within the bound. */
  async function stopped(scheduler: RecordedScheduler, graceMs: number): Promise<StopResult> {
    const askedAt = performance.now();
    const result = await scheduler.stop({ graceMs });
    expect(performance.now() - askedAt).toBeLessThan(graceMs + BOUND_MS);
    expect(scheduler.eventsOf('worker:stopped')).toHaveLength(1);
    return result;
  }

  /** Ends when its signal fires. */
  function untilTold({ signal }: Context): Promise<void> {
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  }

  const BLACK_HOLE = (proxy: DatabaseProxy): unknown => proxy.blackHole();
  const REFUSED = (proxy: DatabaseProxy): unknown => proxy.cut();

  test('S05 stop refuses a grace that is no length of time, and then stops all the same', async ({
    onTestFinished: whenOver,
  }) => {
    const scheduler = await startRecorded(
      {
        connection: url,
        handlers: { [await createQueue()]: () => 'done' },
      },
      whenOver,
    );
    for (const graceMs of [Number.NaN, -1, -Infinity, '5000', null] as number[]) {
      await expect(scheduler.stop({ graceMs })).rejects.toMatchObject({ code: 'invalid_argument' });
    }
    expect(scheduler.eventsOf('worker:stopped')).toEqual([]);
    const stop = scheduler.stop({ graceMs: 0 });
    expect(scheduler.stop()).toBe(stop);
    expect(await stop).toEqual({ stuck: [], undelivered: [] });
  });

  test('S05 stop waits for ever where the grace is Infinity', async ({
    onTestFinished: whenOver,
  }) => {
    const warnings: string[] = [];
    const onWarning = ({ name }: Error): unknown => warnings.push(name);
    process.on('warning', onWarning);
    whenOver(() => void process.off('warning', onWarning));
    const queue = await createQueue();
    const gate = new Gate();
    let signalled = false;
    const scheduler = await startRecorded(
      {
        connection: url,
        leaseMs: 3000,
        handlers: {
          [queue]: async (_, { signal }) => {
            signal.addEventListener('abort', () => {
              signalled = true;
            });
            await gate.pass();
          },
        },
      },
      whenOver,
    );
    const id = await client.enqueue(queue, {});
    await until(() => gate.reached === 1);
    const stop = scheduler.stop({ graceMs: Number.POSITIVE_INFINITY });
    // Meanwhile its lease is renewed: timers do fire, and the handler holds it for longer than it is.
    let ageMs = 0;
    for (let renewals = 0; renewals < 3; ) {
      const { heartbeatAgeMs = 0 } = await client.job(id);
      if (heartbeatAgeMs < ageMs) renewals++;
      ageMs = heartbeatAgeMs;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    gate.open();
    expect(await stop).toEqual({ stuck: [], undelivered: [] });
    expect(signalled).toBe(false);
    expect((await client.job(id)).state).toBe('completed');
    expect(warnings).toEqual([]);
  });

  for (const [how, strike] of [
    ['does not answer', BLACK_HOLE],
    ['refuses connections', REFUSED],
  ] as const) {
    test(`S05 stop is over in time while the database ${how}, and names what was not delivered and who is stuck`, async ({
      onTestFinished: whenOver,
    }) => {
      const [queue, proxy, gate] = [await createQueue(), await proxied(whenOver), new Gate()];
      const scheduler = await startRecorded(
        {
          connection: proxy.url,
          handlers: {
            [queue]: async (job, context) => {
              await gate.pass();
              if (job.payload === 'ignores') await new Promise(() => undefined);
              else if (job.payload === 'obeys') await untilTold(context);
              else if (job.payload === 'fails') throw new Error('on purpose');
            },
          },
        },
        whenOver,
      );
      const ids: Record<string, string> = {};
      for (const payload of ['returns', 'fails', 'obeys', 'ignores']) {
        ids[payload] = await client.enqueue(queue, payload);
      }
      await until(() => gate.reached === 4);
      strike(proxy);
      gate.open();
      const { stuck, undelivered } = await stopped(scheduler, 200);
      expect(stuck).toEqual([{ jobId: ids.ignores, queue, attempt: 1 }]);
      const sorted = [...undelivered].sort((one, other) => Number(one.jobId) - Number(other.jobId));
      expect(sorted).toEqual([
        { jobId: ids.returns, queue, attempt: 1, outcome: 'complete' },
        { jobId: ids.fails, queue, attempt: 1, outcome: 'fail' },
        { jobId: ids.obeys, queue, attempt: 1, outcome: 'release' },
      ]);
      expect(scheduler.eventsOf('outcome:undeliverable')).toHaveLength(3);
    });
  }

  test('S05 stop is over in time where stuck jobs are to be released and cannot be', async ({
    onTestFinished: whenOver,
  }) => {
    const [queue, proxy] = [await createQueue(), await proxied(whenOver)];
    const scheduler = await startRecorded(
      {
        connection: proxy.url,
        releaseStuck: true,
        handlers: { [queue]: () => new Promise(() => undefined) },
      },
      whenOver,
    );
    const jobId = await client.enqueue(queue, {});
    await scheduler.event('job:started');
    proxy.blackHole();
    expect(await stopped(scheduler, 0)).toEqual({
      stuck: [{ jobId, queue, attempt: 1 }],
      undelivered: [{ jobId, queue, attempt: 1, outcome: 'release' }],
    });
  });

  test('S05 stop is over in time where a handler ignores its signal, and stuck jobs are released', async ({
    onTestFinished: whenOver,
  }) => {
    const queue = await createQueue();
    const scheduler = await startRecorded(
      {
        connection: url,
        releaseStuck: true,
        handlers: { [queue]: () => new Promise(() => undefined) },
      },
      whenOver,
    );
    const jobId = await client.enqueue(queue, {});
    await scheduler.event('job:started');
    const { stuck, undelivered } = await stopped(scheduler, 0);
    expect([stuck, undelivered]).toEqual([[{ jobId, queue, attempt: 1 }], []]);
    expect((await client.job(jobId)).state).toBe('ready');
  });

  test('S05 stop without grace fires the signals at once, though a call for jobs is under way', async ({
    onTestFinished: whenOver,
  }) => {
    const [queue, proxy] = [await createQueue(), await proxied(whenOver)];
    const scheduler = await startRecorded(
      {
        connection: proxy.url,
        pollMs: 50,
        handlers: { [queue]: (_, context) => untilTold(context) },
      },
      whenOver,
    );
    const jobId = await client.enqueue(queue, {});
    await scheduler.event('job:started');
    const hung = proxy.plant({ sql: 'lease_jobs', at: 'before-query', deed: 'black-hole' });
    await hung.struck;
    // The handler has heard it: nothing is stuck; what it left is not delivered.
    expect(await stopped(scheduler, 0)).toEqual({
      stuck: [],
      undelivered: [{ jobId, queue, attempt: 1, outcome: 'release' }],
    });
  });

  test('S34 a start that nothing answers says so after its first attempt, and gives up in time', async ({
    onTestFinished: whenOver,
  }) => {
    const proxy = await proxied(whenOver);
    proxy.blackHole();
    const scheduler = new RecordedScheduler(
      {
        connection: proxy.url,
        startTimeoutMs: 8000,
        handlers: { [await createQueue()]: () => 'done' },
      },
      whenOver,
    );
    const beganAt = performance.now();
    const started = scheduler.start();
    const refused = expect(started).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: expect.stringContaining('8000 ms'),
      cause: expect.any(Error),
    });
    expect(await scheduler.event('call:failed')).toMatchObject({ call: 'start' });
    expect(performance.now() - beganAt).toBeLessThan(8000);
    await refused;
    expect(performance.now() - beganAt).toBeLessThan(8000 + BOUND_MS);
    expect(scheduler.eventsOf('worker:started')).toEqual([]);
    proxy.heal();
    await expect(scheduler.start()).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  test('S34 a start that the database answers in time goes on for longer than its limit', async ({
    onTestFinished: whenOver,
  }) => {
    const queue = await createQueue();
    const scheduler = await startRecorded(
      { connection: url, startTimeoutMs: 4000, pollMs: 50, handlers: { [queue]: () => 'done' } },
      whenOver,
    );
    const beganAt = performance.now();
    await until(() => performance.now() - beganAt > 4100);
    await scheduler.settled(await client.enqueue(queue, {}));
    expect(scheduler.eventsOf('worker:stopped')).toEqual([]);
  });

  test('S34 the lease length of each queue applies where the scheduler names none', async ({
    onTestFinished: whenOver,
  }) => {
    const [short, long] = [
      await createQueue({ leaseMs: 6000 }),
      await createQueue({ leaseMs: 600_000 }),
    ];
    const [gate, left] = [new Gate(), new Map<string, number>()];
    const handler = async (job: Job, context: Context): Promise<void> => {
      left.set(job.queue, context.remainingMs());
      await gate.pass();
    };
    const scheduler = await startRecorded(
      { connection: url, pollMs: 50, handlers: { [short]: handler, [long]: handler } },
      whenOver,
    );
    const longId = await client.enqueue(long, {});
    await until(() => gate.reached === 1);
    const shortId = await client.enqueue(short, {});
    await until(() => gate.reached === 2);
    // Told to stop five sixths into the lease, whichever it is.
    expect(left.get(short)).toBeLessThanOrEqual(5000);
    expect(left.get(long)).toBeLessThanOrEqual(500_000);
    expect(left.get(long)).toBeGreaterThan(400_000);

    // Renewed in time for the shortest that is held, for longer than that is.
    const ages: number[] = [];
    const beganAt = performance.now();
    while (performance.now() - beganAt < 8000) {
      ages.push((await client.job(shortId)).heartbeatAgeMs ?? Infinity);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(Math.max(...ages)).toBeLessThan(6000);
    gate.open();
    for (const id of [longId, shortId]) {
      expect(await scheduler.settled(id)).toMatchObject({ status: 'completed', late: false });
    }
    expect(scheduler.eventsOf('job:lost')).toEqual([]);
  });

  test('S34 a lease length that the scheduler names goes before that of a queue', async ({
    onTestFinished: whenOver,
  }) => {
    const queue = await createQueue({ leaseMs: 600_000 });
    const gate = new Gate();
    await startRecorded(
      { connection: url, leaseMs: 5000, handlers: { [queue]: () => gate.pass() } },
      whenOver,
    );
    const id = await client.enqueue(queue, {});
    await until(() => gate.reached === 1);
    expect((await client.job(id)).remainingMs).toBeLessThanOrEqual(5000);
    gate.open();
  });

  test('S34 a job that is leased anew under another length goes by that', async ({
    onTestFinished: whenOver,
  }) => {
    const queue = await createQueue({ leaseMs: 3000 });
    const [gate, proxy] = [new Gate(), await proxied(whenOver)];
    let remaining = (): number => 0;
    const scheduler = await startRecorded(
      {
        connection: proxy.url,
        pollMs: 50,
        maintenanceMs: 200,
        handlers: {
          [queue]: async (_, context) => {
            remaining = context.remainingMs;
            await gate.pass();
          },
        },
      },
      whenOver,
    );
    const id = await client.enqueue(queue, {});
    await until(() => gate.reached === 1);
    await client.createQueue(queue, { leaseMs: 60_000 });
    // No heartbeat arrives: the lease runs out, and this very process leases the job again.
    const fault = proxy.plant({
      sql: 'heartbeat_many',
      at: 'before-query',
      deed: 'black-hole',
      times: 1000,
    });
    await scheduler.event('job:adopted');
    fault.remove();
    expect(remaining()).toBeLessThanOrEqual(50_000);
    expect(remaining()).toBeGreaterThan(30_000);
    gate.open();
    expect(await scheduler.settled(id, 2)).toMatchObject({ status: expect.any(String) });
  });

  test('S05 a handler that waits for a checkpoint to be saved sees its signal in an outage', async ({
    onTestFinished: whenOver,
  }) => {
    const [queue, proxy] = [await createQueue(), await proxied(whenOver)];
    const scheduler = await startRecorded(
      {
        connection: proxy.url,
        handlers: {
          [queue]: async (_, { checkpoint }) => {
            await checkpoint('one', { flush: true });
            proxy.blackHole();
            await checkpoint('two', { flush: true });
          },
        },
      },
      whenOver,
    );
    const jobId = await client.enqueue(queue, {});
    await until(() => proxy.seen('heartbeat_many').length >= 2);
    const { stuck, undelivered } = await stopped(scheduler, 0);
    expect(stuck).toEqual([]);
    expect(undelivered).toEqual([{ jobId, queue, attempt: 1, outcome: 'release' }]);
  });

  test('S05 a handler that waits for a checkpoint after its signal does so no longer than stop', async ({
    onTestFinished: whenOver,
  }) => {
    const [queue, proxy] = [await createQueue(), await proxied(whenOver)];
    let waited: Promise<void> | undefined;
    const scheduler = await startRecorded(
      {
        connection: proxy.url,
        handlers: {
          [queue]: async (_, context) => {
            await untilTold(context).catch(() => undefined);
            waited = context.checkpoint('last', { flush: true });
            await waited;
          },
        },
      },
      whenOver,
    );
    const jobId = await client.enqueue(queue, {});
    await scheduler.event('job:started');
    proxy.blackHole();
    expect((await stopped(scheduler, 0)).stuck).toEqual([{ jobId, queue, attempt: 1 }]);
    await expect(waited).rejects.toThrow('checkpoint');
    await until(() => scheduler.running === 0);
  });

  test('S05 a handler that asks for a checkpoint to be saved once the scheduler has stopped is refused', async ({
    onTestFinished: whenOver,
  }) => {
    const queue = await createQueue();
    const gate = new Gate();
    let saved: Promise<void> | undefined;
    const scheduler = await startRecorded(
      {
        connection: url,
        cancelGraceMs: 10,
        handlers: {
          [queue]: async (_, { checkpoint }) => {
            await gate.pass();
            saved = checkpoint('too late', { flush: true });
            await saved;
          },
        },
      },
      whenOver,
    );
    await client.enqueue(queue, {});
    await scheduler.event('job:started');
    await scheduler.stop({ graceMs: 0 });
    gate.open();
    await until(() => saved !== undefined);
    await expect(saved).rejects.toMatchObject({ code: 'lease_lost' });
  });

  test('S05 stop is over in time during a start that nothing answers', async ({
    onTestFinished: whenOver,
  }) => {
    const proxy = await proxied(whenOver);
    proxy.blackHole();
    const scheduler = new RecordedScheduler(
      {
        connection: proxy.url,
        handlers: { [await createQueue()]: () => 'done' },
      },
      whenOver,
    );
    const started = scheduler.start();
    await until(() => proxy.connected > 0);
    // There is nothing that the grace would be for.
    const askedAt = performance.now();
    expect(await scheduler.stop()).toEqual({ stuck: [], undelivered: [] });
    expect(performance.now() - askedAt).toBeLessThan(BOUND_MS);
    await started;
    expect(scheduler.eventsOf('worker:started')).toEqual([]);
  });

  test('S05 stop is over in time while threads are being ended and nothing answers', async ({
    onTestFinished: whenOver,
  }) => {
    const [queue, proxy] = [await createQueue(), await proxied(whenOver)];
    const scheduler = await startRecorded(
      {
        connection: proxy.url,
        threads: TSX_THREADS,
        handlers: {
          [queue]: { module: new URL('../support/thread-handlers/act.ts', import.meta.url) },
        },
      },
      whenOver,
    );
    const jobId = await client.enqueue(queue, { do: 'block' });
    await scheduler.event('job:started');
    proxy.blackHole();
    expect(await stopped(scheduler, 0)).toEqual({
      stuck: [],
      undelivered: [{ jobId, queue, attempt: 1, outcome: 'release' }],
    });
  });

  test('S14 a heartbeat that is swallowed, and then a connection, leave time for another try', async ({
    onTestFinished: whenOver,
  }) => {
    const [queue, proxy, gate] = [await createQueue(), await proxied(whenOver), new Gate()];
    const scheduler = await startRecorded(
      {
        connection: proxy.url,
        leaseMs: 9000,
        handlers: { [queue]: () => gate.pass() },
      },
      whenOver,
    );
    const id = await client.enqueue(queue, {});
    await until(() => gate.reached === 1);
    const fault = proxy.plant({
      sql: 'heartbeat_many',
      role: 'heart',
      at: 'before-query',
      deed: 'black-hole',
      nth: 2,
    });
    await fault.struck;
    const { connected } = proxy;
    proxy.swallow();
    await until(() => proxy.connected > connected);
    proxy.heal();
    const beats = proxy.seen('heartbeat_many').length;
    await until(() => proxy.seen('heartbeat_many').length >= beats + 2);
    gate.open();
    expect(await scheduler.settled(id)).toMatchObject({ status: 'completed', late: false });
    expect(scheduler.eventsOf('job:aborted')).toEqual([]);
  });
});

describe('S14 the connection', () => {
  test('S14 a scheduler comes back from a standby that its address led to for a while', async () => {
    const primary = await createServer({ fsync: false });
    const standby = await startStandby(primary);
    onTestFinished(() => standby.stop());
    const proxy = await startProxy(primary.url);
    onTestFinished(() => proxy.close());
    const onPrimary = new pg.Pool({ connectionString: primary.url });
    onTestFinished(() => onPrimary.end());
    const there = new Client(onPrimary);
    await there.createQueue('work');
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: proxy.url,
      leaseMs: 30_000,
      heartbeatMs: 500,
      pollMs: 200,
      handlers: { work: (job) => (job.payload === 'long' ? gate.pass() : undefined) },
    });
    const long = await there.enqueue('work', 'long');
    await until(() => gate.reached === 1);
    await scheduler.event('listener:connected');

    proxy.lead(standby.url);
    proxy.cut();
    proxy.heal();
    // Calls for work, heartbeats and listening have all been answered by the standby.
    const refused = (call: string): boolean =>
      scheduler.eventsOf('call:failed').some((event) => event.call === call && isReadOnly(event));
    await until(() => refused('heartbeat') && refused('tick') && refused('listen'));
    proxy.lead(primary.url);

    // Nobody ends its connections: it has to leave them.
    await scheduler.settled(await there.enqueue('work', 'short'));
    const age = async (): Promise<number> => (await there.job(long)).heartbeatAgeMs ?? Infinity;
    await until(async () => (await age()) < 500);
    gate.open();
    expect(await scheduler.settled(long)).toMatchObject({ status: 'completed', late: false });
    expect(scheduler.eventsOf('job:lost')).toEqual([]);
  });

  test('S14 a server that stays read-only is asked again at a bounded rate', async () => {
    const [queue, proxy] = [await createQueue(), await proxied()];
    const scheduler = await startRecorded({
      connection: proxy.url,
      heartbeatMs: 500,
      leaseMs: 30_000,
      pollMs: 50,
      handlers: { [queue]: () => 'done' },
    });
    await scheduler.event('listener:connected');
    const before = proxy.connected;
    const { pathname } = new URL(url);
    const database = decodeURIComponent(pathname.slice(1));
    const setting = 'default_transaction_read_only';
    await pool.query(`alter database ${database} set ${setting} = on`);
    onTestFinished(async () => {
      await pool.query(`begin read write; alter database ${database} reset ${setting}; commit`);
    });
    proxy.cut();
    proxy.heal();
    const beganAt = performance.now();
    await until(() => scheduler.eventsOf('call:failed').filter(isReadOnly).length >= 8);
    // The first attempt of each connection is made at once, and heartbeats need not wait for the others.
    const seconds = (performance.now() - beganAt) / 1000;
    expect(proxy.connected - before).toBeLessThanOrEqual(5 + 2 * seconds);
  });
});

describe('S34 a scheduler is refused', () => {
  const make = (options: object) => () =>
    new Scheduler({ connection: url, handlers: { q: () => 'done' }, ...options });

  test.each([
    ['undefined', undefined],
    ['null', null],
    ['a number', 5432],
    ['a pool', pool],
    ['a client', new pg.Client()],
    ['a URL object', new URL('postgres://127.0.0.1/postgres')],
    ['false', false],
    ['an array', []],
  ])('S34 whose connection is %s', (_, connection) => {
    expect(make({ connection })).toThrow(
      expect.objectContaining({
        code: 'invalid_argument',
        message: expect.stringContaining('connection must be'),
      }),
    );
  });

  test('S34 that is to listen over a pool', () => {
    expect(make({ listenConnection: pool })).toThrow(
      expect.objectContaining({ message: expect.stringContaining('listenConnection must be') }),
    );
  });

  test.each([
    ['an empty object', {}],
    ['null', null],
    ['a path', './render.js'],
    ['a module that is a path', { module: './render.js' }],
    ['a module that is nothing', { module: undefined }],
    ['a handler that is no function', { handler: 'render' }],
    ['an array', [() => 'done']],
  ])('S34 whose handler is %s', (_, handler) => {
    expect(make({ handlers: { render: handler } })).toThrow(
      expect.objectContaining({
        code: 'invalid_argument',
        message: expect.stringContaining('queue "render"'),
      }),
    );
  });

  test('S34 that has no handlers, or a limit of no length for its start', () => {
    for (const options of [
      { handlers: undefined },
      { handlers: null },
      { handlers: [] },
      { startTimeoutMs: Number.NaN },
      { startTimeoutMs: 0 },
    ]) {
      expect(make(options)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    }
  });

  test('S34 but not what names a connection or a handler', () => {
    for (const options of [
      { connection: { host: '127.0.0.1' } },
      { connection: {} },
      { startTimeoutMs: Infinity },
      { handlers: { q: { handler: () => 'done' } } },
      { handlers: { q: { handler: () => 'done', module: undefined } } },
      { handlers: { q: { module: new URL('file:///render.js') } } },
      { handlers: { q: () => 'done', other: undefined } },
      { listenConnection: false },
      { listenConnection: undefined },
    ]) {
      expect(make(options)).not.toThrow();
    }
  });
});

describe('S40 a limit of a queue', () => {
  test('S40 long jobs of a queue with a limit leave slots to those of another', async () => {
    const [long, short] = [await createQueue(), await createQueue()];
    const gate = new Gate();
    let most = 0;
    let running = 0;
    const scheduler = await startRecorded({
      connection: url,
      concurrency: 4,
      pollMs: 50,
      handlers: {
        [long]: {
          concurrency: 2,
          handler: async () => {
            most = Math.max(most, ++running);
            await gate.pass();
            running--;
          },
        },
        [short]: () => 'done',
      },
    });
    const ids = await client.enqueueMany(
      long,
      Array.from({ length: 8 }, (_, n) => ({ payload: n })),
    );
    await until(() => gate.reached === 2);
    const shorts = await client.enqueueMany(
      short,
      Array.from({ length: 20 }, (_, n) => ({ payload: n })),
    );
    for (const id of shorts) await scheduler.settled(id);
    // Nothing is hoarded: what cannot start is for other workers.
    expect((await client.queueStats(long))[0]).toMatchObject({ leased: 2, ready: 6 });
    gate.open();
    for (const id of ids) await scheduler.settled(id);
    expect(most).toBe(2);
  });

  test('S40 a slot that becomes free is filled without a poll, however many queues there are', async () => {
    const [one, other, idle] = [await createQueue(), await createQueue(), await createQueue()];
    const jobs = Array.from({ length: 12 }, (_, n) => ({ payload: n }));
    const ids = [
      ...(await client.enqueueMany(one, jobs)),
      ...(await client.enqueueMany(other, jobs)),
    ];
    const scheduler = await startRecorded({
      connection: url,
      listenConnection: false,
      maintenanceMs: 0,
      pollMs: 3_600_000,
      concurrency: 10,
      handlers: {
        [one]: { concurrency: 1, handler: () => 'done' },
        [other]: { concurrency: 2, handler: () => 'done' },
        [idle]: () => 'done',
      },
    });
    for (const id of ids) await scheduler.settled(id);
  });

  test('S40 slots that become free are filled without a poll while another queue is empty', async () => {
    const [busy, idle] = [await createQueue(), await createQueue()];
    const jobs = Array.from({ length: 12 }, (_, n) => ({ payload: n }));
    const ids = await client.enqueueMany(busy, jobs);
    const scheduler = await startRecorded({
      connection: url,
      listenConnection: false,
      maintenanceMs: 0,
      pollMs: 3_600_000,
      concurrency: 2,
      handlers: { [idle]: { concurrency: 1, handler: () => 'done' }, [busy]: () => 'done' },
    });
    for (const id of ids) await scheduler.settled(id);
  });

  test('S40 a queue that was empty is looked at again while another one keeps all slots busy', async () => {
    const [busy, late] = [await createQueue(), await createQueue()];
    await client.enqueueMany(busy, [{ payload: 1 }, { payload: 2 }, { payload: 3 }]);
    const scheduler = await startRecorded({
      connection: url,
      listenConnection: false,
      maintenanceMs: 0,
      pollMs: 3_600_000,
      concurrency: 2,
      handlers: {
        [late]: { concurrency: 1, handler: () => 'done' },
        [busy]: async () => {
          await client.enqueue(busy, {});
        },
      },
    });
    await scheduler.event('job:settled');
    await scheduler.settled(await client.enqueue(late, {}));
  });

  test('S40 a scheduler all of whose queues are at their limits rests until there is room', async () => {
    const queue = await createQueue();
    const [proxy, gate] = [await proxied(), new Gate()];
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 5,
      pollMs: 3_600_000,
      maintenanceMs: 200,
      handlers: { [queue]: { concurrency: 1, handler: () => gate.pass() } },
    });
    await scheduler.event('listener:connected');
    const ids = await client.enqueueMany(queue, [{ payload: 1 }, { payload: 2 }]);
    await until(() => gate.reached === 1);
    const looks = proxy.seen('lease_jobs').length;
    const ticks = proxy.seen('tick(').length;
    await until(() => proxy.seen('tick(').length >= ticks + 3);
    expect(proxy.seen('lease_jobs').length).toBe(looks);
    gate.open();
    for (const id of ids) await scheduler.settled(id);
  });

  test('S40 a limit that is no number of jobs is refused', () => {
    for (const concurrency of [0, -1, 1.5, Number.NaN, 100_001]) {
      const handlers = { render: { handler: () => 'done', concurrency } };
      expect(() => new Scheduler({ connection: url, handlers })).toThrow(
        expect.objectContaining({ message: expect.stringContaining('queue "render"') }),
      );
    }
  });

  test('S40 queues may share a limit and have one of their own', () => {
    const shares = sharesOf(
      ['a', 'b', 'c'],
      [
        { queues: ['a', 'b'], max: 3 },
        { queues: ['a'], max: 2 },
      ],
    );
    expect(shares.map(({ queues, room }) => [queues, room])).toEqual([
      [['a'], 2],
      [['b'], 3],
      [['c'], Infinity],
    ]);
    const [a, b] = shares;
    a?.asks(2);
    expect([a?.room, b?.room]).toEqual([0, 1]);
    a?.begins();
    a?.answered(2);
    expect([a?.room, b?.room]).toEqual([1, 2]);
    b?.begins();
    b?.begins();
    expect([a?.room, b?.room]).toEqual([0, 0]);
    expect([b?.ends(), b?.ends()]).toEqual([true, false]);
    expect([a?.room, b?.room]).toEqual([1, 2]);
  });
});
