import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, describe, expect, inject, onTestFinished, test, vi } from 'vitest';
import { Client, type Context, type Job } from '../../client/index.ts';
import { createDatabase, databaseUrl, withClient } from '../support/database.ts';
import { type DatabaseProxy, startProxy } from '../support/proxy.ts';
import { Gate, type RecordedScheduler, startRecorded, TSX_THREADS } from '../support/recorded.ts';
import { cloneDatabase, dropDatabase } from '../support/server.ts';
import type { Block } from '../support/thread-handlers/block.ts';
import type { Transact } from '../support/thread-handlers/transact.ts';
import { until } from '../support/wait.ts';

/* What becomes of an outcome, and of the effects that a handler's transaction commits with it. */

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url, application_name: 'test' });
pool.on('error', () => undefined);
afterAll(() => pool.end());
const client = new Client(pool);
await pool.query('create table effect (job_id bigint, attempt integer)');

let queues = 0;
async function createQueue(settings = {}): Promise<string> {
  const queue = `queue ${++queues}`;
  await client.createQueue(queue, { backoffBaseMs: 1, backoffMaxMs: 1, ...settings });
  return queue;
}

async function proxied(): Promise<DatabaseProxy> {
  const proxy = await startProxy(url);
  onTestFinished(() => proxy.close());
  return proxy;
}

const INSERT = 'insert into effect values ($1, $2)';

/** The attempts of a job whose rows are there. */
async function effects(jobId: string): Promise<number[]> {
  const { rows } = await pool.query('select attempt from effect where job_id = $1', [jobId]);
  return rows.map(({ attempt }) => attempt);
}

type Transaction = (connection: pg.Client, job: Job, context: Context) => Promise<void>;

/** Writes a row and completes the job, in a transaction that is still open afterwards. */
const begun: Transaction = async (connection, job, context) => {
  await connection.query('begin');
  await connection.query(INSERT, [job.id, job.attempt]);
  await context.completeIn(connection, 'in the transaction');
};

const committed: Transaction = async (connection, job, context) => {
  await begun(connection, job, context);
  await connection.query('commit');
};

const failing = (connection: pg.Client): Promise<unknown> =>
  connection.query('select 1 / 0').catch(() => undefined);

/** Ends the session as a crash of its server process would. */
async function terminate(connection: pg.Client): Promise<void> {
  const { rows } = await connection.query('select pg_backend_pid() as pid');
  const ended = new Promise((resolve) => connection.once('end', resolve));
  await pool.query('select pg_terminate_backend($1)', [rows[0].pid]);
  await ended;
}

/** Every way in which a transaction with completeIn may come to nothing, each caught by the handler. */
const UNDONE: Readonly<Record<string, Transaction>> = {
  'is rolled back': async (connection, job, context) => {
    await begun(connection, job, context);
    await connection.query('rollback');
  },
  'is never ended': begun,
  'is answered ROLLBACK, for a statement after completeIn failed': async (
    connection,
    job,
    context,
  ) => {
    await begun(connection, job, context);
    await failing(connection);
    const { command } = await connection.query('commit');
    expect(command).toBe('ROLLBACK');
  },
  'is answered ROLLBACK, for a statement before completeIn failed': async (
    connection,
    _,
    context,
  ) => {
    await connection.query('begin');
    await failing(connection);
    await context.completeIn(connection).catch(() => undefined);
    await connection.query('commit');
  },
  'goes on without the completion, which failed and was rolled back to a savepoint': async (
    connection,
    _,
    context,
  ) => {
    await connection.query('begin isolation level repeatable read');
    await connection.query('savepoint here');
    await context.completeIn(connection).catch(() => undefined);
    await connection.query('rollback to savepoint here');
    await connection.query('commit');
  },
  'meets a statement timeout': async (connection, job, context) => {
    await begun(connection, job, context);
    await connection.query("set local statement_timeout = '1ms'");
    await connection.query('select pg_sleep(60)').catch(() => undefined);
    await connection.query('commit').catch(() => undefined);
  },
  'loses its connection before the commit': async (connection, job, context) => {
    await begun(connection, job, context);
    await terminate(connection);
    await connection.query('commit').catch(() => undefined);
  },
};

describe('S01 completeIn', () => {
  test.each(Object.entries(UNDONE))(
    'S01 a return after completeIn is a failure if the transaction %s',
    async (_, undone) => {
      const queue = await createQueue();
      const id = await client.enqueue(queue, {});
      const scheduler = await startRecorded({
        connection: url,
        handlers: {
          [queue]: (job, context) =>
            withClient(url, async (connection) => {
              await (job.attempt === 1 ? undone : committed)(connection, job, context);
              return 'returned';
            }),
        },
      });
      expect(await scheduler.settled(id)).toMatchObject({
        status: 'failed',
        error: 'effects_not_committed',
      });
      const second = await scheduler.settled(id, 2);
      expect(second).toMatchObject({ status: 'already_completed' });
      expect(second).not.toHaveProperty('error');
      expect(await effects(id)).toEqual([2]);
      expect(await client.job(id)).toMatchObject({
        state: 'completed',
        result: 'in the transaction',
        failures: 1,
        history: [{ outcome: 'failed', error: 'effects_not_committed' }],
      });
    },
  );

  test.each(['commit', 'rollback'])(
    'S01 a return while the transaction is open waits for its %s, and never completes the job',
    async (end) => {
      const queue = await createQueue({ maxFailures: 1 });
      const proxy = await proxied();
      const id = await client.enqueue(queue, {});
      const connection = new pg.Client({ connectionString: url });
      await connection.connect();
      onTestFinished(() => connection.end());
      const scheduler = await startRecorded({
        connection: proxy.url,
        handlers: { [queue]: (job, context) => begun(connection, job, context) },
      });
      await until(() => proxy.seen('leasehold.fail_many(').length > 0);
      await connection.query(end);
      expect(await scheduler.settled(id)).toMatchObject(
        end === 'commit'
          ? { status: 'already_completed' }
          : { status: 'dead', error: 'effects_not_committed' },
      );
      expect(await effects(id)).toEqual(end === 'commit' ? [1] : []);
      // Only the handler's own call could ever complete it.
      expect(proxy.seen('leasehold.complete')).toEqual([]);
    },
  );

  test.each([
    ['committed', committed, { status: 'already_completed' }],
    ['rolled back', UNDONE['is rolled back'] as Transaction, { status: 'dead' }],
  ] as const)(
    'S01 a handler that throws after a transaction that was %s',
    async (_, transaction, settled) => {
      const queue = await createQueue({ maxFailures: 1 });
      const id = await client.enqueue(queue, {});
      const scheduler = await startRecorded({
        connection: url,
        handlers: {
          [queue]: (job, context) =>
            withClient(url, async (connection) => {
              await transaction(connection, job, context);
              throw new Error('thrown after it');
            }),
        },
      });
      expect(await scheduler.settled(id)).toMatchObject({
        ...settled,
        error: expect.stringContaining('thrown after it'),
      });
    },
  );

  test.each([{ keepCompletedMs: 86_400_000 }, { keepCompletedMs: 0 }])(
    'S01 a heartbeat between the commit and the return tells that the job is completed (%o)',
    async (settings) => {
      const queue = await createQueue(settings);
      const id = await client.enqueue(queue, {});
      const gate = new Gate();
      let given: Context | undefined;
      const scheduler = await startRecorded({
        connection: url,
        leaseMs: 6000,
        heartbeatMs: 400,
        handlers: {
          [queue]: (job, context) =>
            withClient(url, async (connection) => {
              given = context;
              await committed(connection, job, context);
              await gate.pass();
              await context.checkpoint('after the end', { flush: true });
              expect(context.signal.aborted).toBe(false);
            }),
        },
      });
      expect(await scheduler.settled(id)).toMatchObject({ status: 'already_completed' });
      expect(gate.reached).toBe(1);
      // The lease, which is renewed no more, would be uncertain by now.
      await until(() => given?.remainingMs() === 0);
      expect(given?.signal.aborted).toBe(false);
      gate.open();
      await until(() => scheduler.running === 0);
      expect(scheduler.eventsOf('job:settled')).toHaveLength(1);
      for (const type of ['job:lost', 'job:aborted', 'outcome:refused'] as const) {
        expect(scheduler.eventsOf(type)).toEqual([]);
      }
    },
  );

  test('S01 what a handler throws after its end is known is told as refused', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: url,
      leaseMs: 6000,
      heartbeatMs: 400,
      handlers: {
        [queue]: (job, context) =>
          withClient(url, async (connection) => {
            await committed(connection, job, context);
            await gate.pass();
            throw new Error('too late');
          }),
      },
    });
    await scheduler.settled(id);
    gate.open();
    expect(await scheduler.event('outcome:refused')).toMatchObject({
      jobId: id,
      outcome: 'fail',
      status: 'already_completed',
      error: expect.stringContaining('too late'),
    });
    expect(scheduler.eventsOf('job:settled')).toHaveLength(1);
  });

  test.each(['returns', 'throws'])(
    'S01 a lease that is lost after completeIn rolled back is told, and the handler then %s',
    async (how) => {
      const queue = await createQueue();
      const id = await client.enqueue(queue, {});
      const scheduler = await startRecorded({
        connection: url,
        leaseMs: 6000,
        heartbeatMs: 400,
        handlers: {
          [queue]: async (job, context) => {
            await withClient(
              url,
              (connection) =>
                UNDONE['is rolled back']?.(connection, job, context) ?? Promise.reject(),
            );
            await client.deadLetter(job.id, context.token, 'by somebody else');
            await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
            if (how === 'throws') throw context.signal.reason;
          },
        },
      });
      expect(await scheduler.event('job:aborted')).toMatchObject({ reason: 'lease_lost' });
      await until(() => scheduler.running === 0);
      expect(scheduler.eventsOf('job:lost')).toHaveLength(1);
      expect((await client.job(id)).state).toBe('dead');
    },
  );
});

/** Connections of one application. */
async function connectionsOf(applicationName: string): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(
    'select count(*)::int4 as count from pg_stat_activity where application_name = $1',
    [applicationName],
  );
  return rows[0]?.count ?? Number.NaN;
}

describe('S01 transaction', () => {
  const insert = (transaction: pg.ClientBase, { id, attempt }: Job): Promise<unknown> =>
    transaction.query(INSERT, [id, attempt]);

  test('S01 transaction commits the completion with the handler’s rows, and tells it before the return', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: { connectionString: url, application_name: 'transaction' },
      leaseMs: 6000,
      heartbeatMs: 400,
      handlers: {
        [queue]: async (job, { transaction, signal, completeIn }) => {
          const result = await transaction(async (connection) => {
            await insert(connection, job);
            expect(await effects(id)).toEqual([]);
            return { in: 'the transaction' };
          });
          expect(result).toEqual({ in: 'the transaction' });
          await gate.pass();
          expect(signal.aborted).toBe(false);
          await expect(transaction(async () => 'again')).rejects.toMatchObject({
            code: 'job_finished',
          });
          await completeIn(pool, 'again');
          return 'returned, which is ignored';
        },
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'completed', late: false });
    expect(await effects(id)).toEqual([1]);
    // Renewed no more: the lease would have been told as lost.
    await until(async () => (await client.queueStats(queue))[0]?.leased === 0);
    gate.open();
    await until(() => scheduler.running === 0);
    expect(await client.job(id)).toMatchObject({ result: { in: 'the transaction' }, failures: 0 });
    expect(scheduler.eventsOf('job:settled')).toHaveLength(1);
    for (const type of ['job:lost', 'job:aborted', 'outcome:refused'] as const) {
      expect(scheduler.eventsOf(type)).toEqual([]);
    }
    await scheduler.stop();
    await until(async () => (await connectionsOf('transaction')) === 0);
  });

  test('S01 what the callback throws rolls the transaction back, and another may follow', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const thrown = new Error('thrown in the transaction');
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: async (job, { transaction }) => {
          const failed = transaction(async (connection) => {
            await insert(connection, job);
            throw thrown;
          });
          await expect(transaction(async () => 'meanwhile')).rejects.toMatchObject({
            code: 'invalid_argument',
          });
          await expect(failed).rejects.toBe(thrown);
          await transaction((connection) => insert(connection, job).then(() => 'second'));
        },
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
    expect(await effects(id)).toEqual([1]);
    expect(await client.job(id)).toMatchObject({ result: 'second', failures: 0 });
  });

  test.each([
    [
      'a statement whose error is caught',
      (connection: pg.ClientBase) => connection.query('select 1 / 0').catch(() => undefined),
    ],
    [
      'a statement whose error nobody awaits',
      async (connection: pg.ClientBase) => {
        await connection.query('set constraints all immediate');
        void connection.query('select 1 / 0').catch(() => undefined);
      },
    ],
    ['its own rollback', (connection: pg.ClientBase) => connection.query('rollback')],
  ])('S01 a transaction with %s is not committed, and says so', async (_, mischief) => {
    const queue = await createQueue({ maxFailures: 1 });
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: (job, { transaction }) =>
          transaction(async (connection) => {
            await insert(connection, job);
            await mischief(connection);
          }),
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({
      status: 'dead',
      error: expect.stringMatching(/not committed|current transaction is aborted/),
    });
    expect(await effects(id)).toEqual([]);
  });

  test('S01 a result of a transaction that cannot be stored gives the job up at once', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: (job, { transaction }) =>
          transaction((connection) => insert(connection, job).then(() => 1n)),
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'dead' });
    expect(await client.job(id)).toMatchObject({
      attempt: 1,
      reason: expect.stringMatching(/^result_not_storable: .*BigInt/),
    });
    expect(await effects(id)).toEqual([]);
  });

  test('S01 a handler that stops once its transaction has committed is told as refused by nobody', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: async (job, { transaction, signal }) => {
          await transaction((connection) => insert(connection, job));
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
          throw signal.reason;
        },
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
    expect(await scheduler.stop({ graceMs: 0 })).toEqual({ stuck: [], undelivered: [] });
    expect(scheduler.eventsOf('outcome:refused')).toEqual([]);
    expect((await client.job(id)).state).toBe('completed');
  });

  test('S01 a constraint that fails at the commit rejects, and leaves the handler its choice', async () => {
    await pool.query(`
      create table unique_effect (n integer unique deferrable initially deferred);
      insert into unique_effect values (1)`);
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: async (_, { transaction }) => {
          await expect(
            transaction((connection) => connection.query('insert into unique_effect values (1)')),
          ).rejects.toMatchObject({ code: '23505' });
          return 'there already';
        },
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
    expect(await client.job(id)).toMatchObject({ result: 'there already' });
  });

  test.each([
    ['before-query', 'rst', [2]],
    ['before-reply', 'rst', [1]],
    ['before-reply', 'fin', [1]],
  ] as const)(
    'S01 a connection that is lost at the commit, %s (%s): the database tells what became of it',
    async (at, deed, attempts) => {
      const queue = await createQueue();
      const proxy = await proxied();
      // The first is "begin isolation level read committed".
      const fault = proxy.plant({ sql: 'commit', nth: 2, at, deed });
      const id = await client.enqueue(queue, {});
      const scheduler = await startRecorded({
        connection: proxy.url,
        handlers: {
          [queue]: (job, { transaction }) =>
            transaction((connection) => insert(connection, job).then(() => 'done')),
        },
      });
      await scheduler.event('job:settled', ({ status }) => status === 'completed');
      expect(fault.fired).toBe(1);
      expect(await effects(id)).toEqual(attempts);
      expect(await client.job(id)).toMatchObject({ state: 'completed', result: 'done' });
    },
  );

  test('S01 the database tells what became of a commit, whatever isolation it begins with', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const id = await client.enqueue(queue, {});
    const ends: unknown[] = [];
    const scheduler = await startRecorded({
      connection: {
        connectionString: proxy.url,
        options: '-c default_transaction_isolation=serializable',
      },
      // Nothing else commits meanwhile.
      listenConnection: false,
      concurrency: 1,
      maintenanceMs: 0,
      handlers: {
        [queue]: async (job, { transaction }) => {
          const end = await transaction(async (connection) => {
            await insert(connection, job);
            proxy.plant({ sql: 'commit', at: 'before-reply', deed: 'rst' });
            return 'done';
          });
          ends.push(end);
        },
      },
    });
    await scheduler.event('job:settled', ({ status }) => status === 'completed');
    await until(() => ends.length === 1);
    expect(ends).toEqual(['done']);
    expect(await effects(id)).toEqual([1]);
  });

  test('S01 a question about a commit that is never answered keeps no connection once the signal has fired', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 1,
      handlers: {
        [queue]: (_, { transaction }) =>
          transaction(async () => {
            proxy.plant({ sql: 'commit', at: 'before-query', deed: 'rst' });
            proxy.plant({ sql: 'begin isolation', at: 'before-query', deed: 'black-hole' });
          }),
      },
    });
    await scheduler.event('listener:connected');
    await until(() => proxy.seen('begin isolation').length === 2);
    await client.cancel(id);
    const [, asked] = proxy.seen('begin isolation');
    await until(() => asked?.connection.closed === true);
    await scheduler.event('job:settled', ({ jobId }) => jobId === id);
  });

  test('S01 a commit that nobody can ask about is confirmed once the database is back', async () => {
    const queue = await createQueue();
    const proxy = await proxied();
    const fault = proxy.plant({ sql: 'commit', nth: 2, at: 'before-reply', deed: 'rst' });
    void fault.struck.then(() => proxy.cut());
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: proxy.url,
      leaseMs: 1500,
      handlers: {
        [queue]: async (job, { transaction, signal }) => {
          await transaction((connection) => insert(connection, job)).finally(() => {
            expect(signal.aborted).toBe(true);
            proxy.heal();
          });
        },
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'already_completed' });
    expect(await effects(id)).toEqual([1]);
    expect((await client.job(id)).attempt).toBe(1);
  });

  test('S01 a return that does not await its transaction waits for it all the same', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: async (job, { transaction }) => {
          void transaction(async (connection) => {
            await insert(connection, job);
            await gate.pass();
          });
          await until(() => gate.reached === 1);
        },
      },
    });
    await until(() => gate.reached === 1);
    gate.open();
    expect(await scheduler.settled(id)).toMatchObject({ status: 'already_completed' });
    expect(await effects(id)).toEqual([1]);
  });

  test('S01 a transaction under a lease that is lost does not begin', async () => {
    const queue = await createQueue();
    const reasons: unknown[] = [];
    await startRecorded({
      connection: url,
      handlers: {
        [queue]: async (job, { transaction, token }) => {
          await client.fail(job.id, token, 'by somebody else', { retryInMs: 60_000 });
          await transaction((connection) => insert(connection, job)).catch((error: unknown) => {
            reasons.push(error);
          });
        },
      },
    });
    const id = await client.enqueue(queue, {});
    // The database says so, or a heartbeat that was told before.
    await until(() => reasons.length === 1);
    expect(reasons).toMatchObject([{ code: 'lease_lost' }]);
    expect(await effects(id)).toEqual([]);
  });

  test('S01 at most ten transactions are open, and who waits for one is freed by the signal', async () => {
    const queue = await createQueue();
    const gate = new Gate();
    const reasons: unknown[] = [];
    const scheduler = await startRecorded({
      connection: { connectionString: url, application_name: 'ten' },
      concurrency: 11,
      handlers: {
        [queue]: (_, { transaction }) =>
          transaction(() => gate.pass()).catch((error: unknown) => {
            reasons.push(error);
            throw error;
          }),
      },
    });
    await scheduler.event('listener:connected');
    await until(async () => (await connectionsOf('ten')) === 3);
    const ids = await client.enqueueMany(
      queue,
      Array.from({ length: 10 }, (_, n) => ({ payload: n })),
    );
    await until(() => gate.reached === 10);
    const waits = await client.enqueue(queue, 'waits');
    await scheduler.event('job:started', ({ jobId }) => jobId === waits);
    await client.cancel(waits);
    expect(await scheduler.settled(waits)).toMatchObject({ status: 'cancelled' });
    expect(reasons).toMatchObject([{ code: 'cancelled' }]);
    await until(async () => (await connectionsOf('ten')) === 13);
    gate.open();
    for (const id of ids)
      expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
  });

  test('S01 a handler that is stuck in its transaction loses it, and the verdict is delivered', async () => {
    const queue = await createQueue({ maxFailures: 1 });
    const id = await client.enqueue(queue, {}, { maxRuntimeMs: 1000 });
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: url,
      cancelGraceMs: 100,
      handlers: {
        [queue]: (job, { transaction }) =>
          transaction(async (connection) => {
            await insert(connection, job);
            await gate.pass();
          }),
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({
      status: 'dead',
      error: 'max_runtime_exceeded',
    });
    expect(await effects(id)).toEqual([]);
    gate.open();
    await until(() => scheduler.running === 0);
  });

  test('S01 stop ends the transaction of a handler that ignores its signal', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: { connectionString: url, application_name: 'stops' },
      cancelGraceMs: 100,
      handlers: { [queue]: (_, { transaction }) => transaction(() => gate.pass()) },
    });
    await until(() => gate.reached === 1);
    expect(await scheduler.stop({ graceMs: 0 })).toMatchObject({ stuck: [{ jobId: id }] });
    await until(async () => (await connectionsOf('stops')) === 0);
    gate.open();
  });
});

describe('S01 in a worker thread', async () => {
  const queue = 'threads';
  const forgotten = 'forgotten threads';
  await client.createQueue(queue, { backoffBaseMs: 1, backoffMaxMs: 1 });
  await client.createQueue(forgotten, { keepCompletedMs: 0 });
  const module = new URL('../support/thread-handlers/transact.ts', import.meta.url);
  const scheduler = await startRecorded(
    {
      connection: url,
      concurrency: 2,
      leaseMs: 6000,
      heartbeatMs: 300,
      threads: TSX_THREADS,
      handlers: { [queue]: { module }, [forgotten]: { module } },
    },
    afterAll,
  );
  const folder = await mkdtemp(join(tmpdir(), 'leasehold-outcomes-'));
  afterAll(() => rm(folder, { recursive: true }));

  const enqueue = (given: Omit<Transact, 'url'>, to = queue): Promise<string> =>
    client.enqueue(to, { url, ...given });

  test.each([
    ['completeIn', { error: 'effects_not_committed' }],
    ['transaction', { error: expect.stringContaining('not committed') }],
  ] as const)(
    'S01 %s in a thread fails if its transaction came to nothing',
    async (how, settled) => {
      const id = await enqueue({ with: how, end: 'caught error' });
      expect(await scheduler.settled(id)).toMatchObject({ status: 'failed', ...settled });
      await scheduler.settled(id, 2);
      expect(await effects(id)).toEqual([2]);
      expect(await client.job(id)).toMatchObject({
        state: 'completed',
        result: 'in the transaction',
        failures: 1,
      });
    },
  );

  test('S01 what a thread throws after its commit does not run the job again', async () => {
    const id = await enqueue({ with: 'completeIn', end: 'throw' });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'already_completed' });
    expect(await effects(id)).toEqual([1]);
  });

  test('S01 what a thread throws in its transaction rolls it back', async () => {
    const id = await enqueue({ with: 'transaction', end: 'throw' });
    expect(await scheduler.settled(id)).toMatchObject({
      status: 'failed',
      error: expect.stringContaining('thrown in the transaction'),
    });
    await scheduler.settled(id, 2);
    expect(await effects(id)).toEqual([2]);
  });

  test.each([
    ['completeIn', queue],
    ['completeIn', forgotten],
    ['transaction', queue],
    ['transaction', forgotten],
  ] as const)('S01 the end of %s in a thread is told before the return (%s)', async (how, to) => {
    const file = join(folder, `${how} ${to}`);
    const id = await enqueue({ with: how, end: 'commit', file }, to);
    expect(await scheduler.settled(id)).toMatchObject({
      status: how === 'transaction' ? 'completed' : 'already_completed',
    });
    await writeFile(file, '');
    await until(() => scheduler.running === 0);
    expect(scheduler.eventsOf('job:settled').filter(({ jobId }) => jobId === id)).toHaveLength(1);
    for (const type of ['job:lost', 'job:aborted', 'outcome:refused'] as const) {
      expect(scheduler.eventsOf(type)).toEqual([]);
    }
    expect(await effects(id)).toEqual([1]);
  });
});

describe('S02 an outcome', () => {
  const role = `worker_${process.pid}`;
  const workerUrl = (of: string): string => {
    const worker = new URL(of);
    [worker.username, worker.password] = [role, 'secret'];
    return worker.href;
  };

  async function createRole(on: pg.Pool): Promise<void> {
    await on.query(`create role ${role} login password 'secret'`);
    await grant(on);
    onTestFinished(async () => {
      await on.query(`drop owned by ${role}`);
      await on.query(`drop role ${role}`);
    });
  }
  const grant = (on: pg.Pool): Promise<unknown> =>
    on.query(`
      grant usage on schema leasehold to ${role};
      grant execute on all functions in schema leasehold to ${role}`);
  const endSessions = (on: pg.Pool): Promise<unknown> =>
    on.query('select pg_terminate_backend(pid) from pg_stat_activity where usename = $1', [role]);

  /** An administrator somewhere else on the server. */
  const { url: adminUrl, template } = inject('server');
  const admin = new pg.Pool({ connectionString: adminUrl, max: 1 });
  afterAll(() => admin.end());

  const KINDS = ['complete', 'fail', 'release', 'dead_letter'] as const;

  /** Ends as its payload says. */
  const ends = (job: Job, context: Context): unknown => {
    switch (job.payload) {
      case 'fail':
        context.fail('as said', { retryInMs: 3_600_000 });
        break;
      case 'release':
        context.release({ delayMs: 3_600_000 });
        break;
      case 'dead_letter':
        context.deadLetter('as said');
        break;
    }
    return 'the work of hours';
  };

  const failedToSettle = (scheduler: RecordedScheduler, code: string) =>
    scheduler.event(
      'call:failed',
      ({ call, error }) => call === 'settle' && (error as { code?: string }).code === code,
    );

  test.each(['28000', '55000', '42501'])(
    'S02 an outcome is delivered after the database refused it with %s for a while',
    async (code) => {
      const name = await cloneDatabase(adminUrl, template);
      onTestFinished(() => dropDatabase(adminUrl, name));
      const own = new pg.Pool({ connectionString: databaseUrl(adminUrl, name), max: 1 });
      own.on('error', () => undefined);
      onTestFinished(() => own.end());
      await createRole(own);
      const client = new Client(own);
      await client.createQueue('work');
      const ids: Record<string, string> = {};
      for (const kind of KINDS) ids[kind] = await client.enqueue('work', kind);

      const gate = new Gate();
      const scheduler = await startRecorded({
        connection: workerUrl(databaseUrl(adminUrl, name)),
        listenConnection: false,
        handlers: { work: (job, context) => gate.pass().then(() => ends(job, context)) },
      });
      await until(() => gate.reached === KINDS.length);
      const refusals: Record<string, [refuse: () => unknown, allow: () => unknown]> = {
        28000: [
          () => admin.query(`alter role ${role} nologin`),
          () => admin.query(`alter role ${role} login`),
        ],
        55000: [
          () => admin.query(`alter database ${name} allow_connections false`),
          () => admin.query(`alter database ${name} allow_connections true`),
        ],
        42501: [() => own.query(`revoke usage on schema leasehold from ${role}`), () => grant(own)],
      };
      const [refuse, allow] = refusals[code] ?? [];
      await refuse?.();
      if (code !== '42501') await endSessions(admin);
      gate.open();
      await failedToSettle(scheduler, code);
      await allow?.();

      const statuses = ['completed', 'failed', 'released', 'dead'];
      for (const [index, kind] of KINDS.entries()) {
        expect(await scheduler.settled(String(ids[kind]))).toMatchObject({
          status: statuses[index],
        });
      }
      expect(await client.job(String(ids.complete))).toMatchObject({
        state: 'completed',
        result: 'the work of hours',
        attempt: 1,
      });
      expect(scheduler.eventsOf('outcome:undeliverable')).toEqual([]);
      expect(gate.reached).toBe(KINDS.length);
      await scheduler.stop();
    },
  );

  /** Lets the database refuse whatever ends one job, with an error that nobody knows. */
  async function refuse(jobId: string): Promise<() => Promise<void>> {
    const name = `refuse_${jobId}`;
    await pool.query(`
      create function ${name}() returns trigger language plpgsql as $$
        begin raise exception 'no' using errcode = 'P0001'; end
      $$;
      create trigger ${name} before delete on leasehold.lease
        for each row when (old.job_id = ${jobId}) execute function ${name}()`);
    let gone = false;
    const allow = async (): Promise<void> => {
      if (!gone) await pool.query(`drop function ${name} cascade`);
      gone = true;
    };
    onTestFinished(allow);
    return allow;
  }

  test.each(KINDS)(
    'S02 a %s that the database refuses for a reason of its own holds up no other',
    async (kind) => {
      const queue = await createQueue();
      const ids = await client.enqueueMany(
        queue,
        Array.from({ length: 30 }, () => ({ payload: kind })),
      );
      const gate = new Gate();
      const scheduler = await startRecorded({
        connection: url,
        concurrency: 30,
        handlers: {
          [queue]: (job, context) => gate.pass().then(() => ends(job, context)),
        },
      });
      await until(() => gate.reached === 30);
      const [refused = '', ...others] = ids;
      const allow = await refuse(refused);
      gate.open();
      for (const id of others) await scheduler.settled(id);
      expect(scheduler.eventsOf('job:settled')).toHaveLength(29);

      // No hot loop: every try waits for 25 ms at the least.
      const from = performance.now();
      const failures = (): number => scheduler.eventsOf('call:failed').length;
      const before = failures();
      await until(() => failures() >= before + 3);
      expect(performance.now() - from).toBeGreaterThan(50);
      await allow();
      expect(await scheduler.settled(refused)).toMatchObject({ attempt: 1 });
      expect(scheduler.eventsOf('outcome:undeliverable')).toEqual([]);
    },
  );

  test('S02 stop ends the delivery of an outcome that is refused, and names it', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    await refuse(id);
    const scheduler = await startRecorded({ connection: url, handlers: { [queue]: () => 1 } });
    await failedToSettle(scheduler, 'P0001');
    expect(await scheduler.stop({ graceMs: 0 })).toMatchObject({
      undelivered: [{ jobId: id, outcome: 'complete' }],
    });
  });

  test('S02 the verdict on a handler that was given up is delivered or named, though the handler ends meanwhile', async () => {
    const queue = await createQueue({ maxRuntimeMs: 1000 });
    const id = await client.enqueue(queue, {});
    await refuse(id);
    const gate = new Gate();
    const ended = new Gate();
    const scheduler = await startRecorded({
      connection: url,
      cancelGraceMs: 10,
      handlers: { [queue]: () => gate.pass().finally(() => void ended.pass()) },
    });
    await failedToSettle(scheduler, 'P0001');
    gate.open();
    await until(() => ended.reached === 1);
    expect(await scheduler.stop({ graceMs: 0 })).toMatchObject({
      undelivered: [{ jobId: id, outcome: 'fail' }],
    });
    ended.open();
  });

  test('S02 a checkpoint before the outcome waits for the database as the outcome does', async () => {
    await createRole(pool);
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: workerUrl(url),
      checkpointMs: 3_600_000,
      heartbeatMs: 10_000,
      handlers: {
        [queue]: async (_, { checkpoint, release }) => {
          await gate.pass();
          await checkpoint('the last');
          release({ delayMs: 3_600_000 });
        },
      },
    });
    await until(() => gate.reached === 1);
    const heartbeatMany = 'function leasehold.heartbeat_many';
    await pool.query(`revoke execute on ${heartbeatMany} from ${role}`);
    gate.open();
    await failedToSettle(scheduler, '42501');
    await pool.query(`grant execute on ${heartbeatMany} to ${role}`);
    expect(await scheduler.settled(id)).toMatchObject({ status: 'released' });
    expect((await client.job(id)).checkpoint).toBe('the last');
    await scheduler.stop();
  });

  test('S02 jobs of a lease_jobs call whose answer was lost are handed back, though the login is refused', async () => {
    await createRole(pool);
    const queue = await createQueue();
    const proxy = await proxied();
    const lost = proxy.plant({ sql: 'leasehold.lease_jobs(', at: 'before-reply', deed: 'rst' });
    const away = lost.struck.then(() => proxy.cut());
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: workerUrl(proxy.url),
      handlers: { [queue]: () => expect.unreachable() },
    });
    await away;
    await admin.query(`alter role ${role} nologin`);
    proxy.heal();
    const stopped = scheduler.stop({ graceMs: 30_000 });
    const from = scheduler.eventsOf('call:failed').length;
    await scheduler.event(
      'call:failed',
      (event) =>
        event.call === 'lease' &&
        (event.error as { code?: string }).code === '28000' &&
        scheduler.eventsOf('call:failed').indexOf(event) >= from,
    );
    await admin.query(`alter role ${role} login`);
    await stopped;
    expect(await client.job(id)).toMatchObject({ state: 'ready', releases: 1, losses: 0 });
  });
});

describe('S06 a handler that hangs', () => {
  /** A handler that ignores its signal, until the test ends. */
  async function hanging(
    options: { connection?: string; heartbeatMs?: number; maxRuntimeMs?: number } = {},
  ) {
    const { connection = url, heartbeatMs = 200, maxRuntimeMs = 0 } = options;
    const queue = await createQueue({ maxFailures: 1, maxRuntimeMs });
    const id = await client.enqueue(queue, {});
    const gate = new Gate();
    onTestFinished(() => gate.open());
    const tokens: string[] = [];
    const scheduler = await startRecorded({
      connection,
      concurrency: 2,
      leaseMs: 60_000,
      heartbeatMs,
      cancelGraceMs: 100,
      handlers: {
        [queue]: (_, { token }) => {
          tokens.push(token);
          return gate.pass();
        },
      },
    });
    await until(() => gate.reached === 1);
    return { id, scheduler, tokens };
  }

  /** Another worker has the lease from now on. Resolves to its token. */
  async function stolen(id: string): Promise<string> {
    const { rows } = await pool.query<{ token: string }>(
      'update leasehold.lease set token = gen_random_uuid() where job_id = $1 returning token',
      [id],
    );
    return rows[0]?.token ?? '';
  }

  /** Its lease is lost to another worker, which hands the job back: the same process leases it again. */
  async function adopted(options?: Parameters<typeof hanging>[0]) {
    const { id, scheduler, tokens } = await hanging(options);
    const token = await stolen(id);
    await scheduler.event('job:stuck', ({ reason }) => reason === 'lease_lost');
    await client.release(id, token);
    await scheduler.event('job:adopted');
    expect(tokens).toHaveLength(1);
    return { id, scheduler };
  }

  test('S06 is given up for a cancel after its job was adopted', async () => {
    const { id, scheduler } = await adopted();
    await client.cancel(id);
    expect(await scheduler.settled(id, 2)).toMatchObject({ status: 'cancelled' });
    expect(scheduler.eventsOf('job:aborted').map(({ reason }) => reason)).toEqual([
      'lease_lost',
      'cancelled',
    ]);
  });

  test('S06 is given up for the longest runtime after its job was adopted', async () => {
    const { id, scheduler } = await adopted({ maxRuntimeMs: 4000 });
    expect(await scheduler.settled(id, 2)).toMatchObject({
      status: 'dead',
      error: 'max_runtime_exceeded',
    });
    expect(scheduler.eventsOf('job:aborted').map(({ reason }) => reason)).toEqual([
      'lease_lost',
      'max_runtime',
    ]);
  });

  test('S06 is stuck for stop after its job was adopted, and told so', async () => {
    const { id, scheduler } = await adopted();
    expect(await scheduler.stop({ graceMs: 0 })).toMatchObject({
      stuck: [{ jobId: id, attempt: 2 }],
    });
    expect(scheduler.eventsOf('job:stuck').map(({ reason }) => reason)).toEqual([
      'lease_lost',
      'shutdown',
    ]);
  });

  test('S05 is stuck for stop after the lease that it was adopted under is lost, too', async () => {
    const { id, scheduler } = await adopted();
    await stolen(id);
    await scheduler.event('job:lost', ({ attempt }) => attempt === 2);
    expect(await scheduler.stop({ graceMs: 0 })).toMatchObject({
      stuck: [{ jobId: id, attempt: 2 }],
    });
  });

  test('S06 is given up for a cancel after a lease that was given up was renewed all the same', async () => {
    const proxy = await proxied();
    const { id, scheduler } = await hanging({ connection: proxy.url, heartbeatMs: 2000 });
    const { struck } = proxy.plant({
      sql: 'heartbeat_many(',
      at: 'before-reply',
      deed: { delayMs: 500 },
    });
    await struck;
    // The machine was asleep for an hour, as far as it knows.
    const clock = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 3_600_000);
    await scheduler.event('job:lost');
    clock.mockRestore();
    const heldBefore = proxy.seen('heartbeat_many(').length;
    await until(() => proxy.seen('heartbeat_many(').length > heldBefore);
    await client.cancel(id);
    expect(await scheduler.settled(id)).toMatchObject({ status: 'cancelled' });
  });
});

/** Keeps this thread busy. */
function busy(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('S20 a signal', () => {
  test.each([
    ['lease', 'lease_lost', 0],
    ['longest runtime', 'max_runtime', 1000],
  ] as const)(
    'S20 has fired at the first look after the thread was busy for longer than the %s',
    async (_, code, maxRuntimeMs) => {
      const queue = await createQueue({ maxRuntimeMs });
      const id = await client.enqueue(queue, {});
      const looks: unknown[] = [];
      const scheduler = await startRecorded({
        connection: url,
        leaseMs: maxRuntimeMs === 0 ? 2000 : 60_000,
        handlers: {
          [queue]: ({ attempt }, context) => {
            if (attempt > 1) return;
            const { signal, remainingMs } = context;
            expect(signal.aborted).toBe(false);
            busy(2100);
            looks.push(remainingMs(), signal.aborted, signal.reason.code, context.signal.aborted);
            looks.push(signal instanceof AbortSignal, AbortSignal.any([signal]).aborted);
            signal.throwIfAborted();
          },
        },
      });
      await scheduler.event('job:aborted', ({ jobId, reason }) => jobId === id && reason === code);
      expect(looks).toEqual([0, true, code, true, true, true]);
      await until(() => scheduler.running === 0);
      expect((await client.job(id)).failures).toBe(maxRuntimeMs === 0 ? 0 : 1);
    },
  );

  test('S20 throwIfAborted throws at the first look, and fetch and its like take it', async () => {
    const queue = await createQueue();
    await client.enqueue(queue, {});
    const thrown: unknown[] = [];
    const scheduler = await startRecorded({
      connection: url,
      leaseMs: 2000,
      handlers: {
        [queue]: async ({ attempt }, { signal }) => {
          if (attempt > 1) return;
          signal.throwIfAborted();
          busy(2100);
          const held = AbortSignal.any([signal]);
          try {
            signal.throwIfAborted();
          } catch (error) {
            thrown.push(error);
          }
          expect(held.aborted).toBe(true);
          await fetch('http://127.0.0.1:1', { signal }).catch((error: unknown) =>
            thrown.push(error),
          );
          throw signal.reason;
        },
      },
    });
    await scheduler.event('job:lost');
    await until(() => thrown.length === 2);
    expect(thrown).toMatchObject([{ code: 'lease_lost' }, { code: 'lease_lost' }]);
    await until(() => scheduler.running === 0);
  });

  describe('S20 in a worker thread', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'leasehold-signals-'));
    afterAll(() => rm(folder, { recursive: true }));
    let files = 0;

    async function blocking(then: Block['then'], leaseMs: number) {
      const queue = await createQueue();
      const [began, released] = [join(folder, `${++files}`), join(folder, `${++files}`)];
      const scheduler = await startRecorded({
        connection: url,
        leaseMs,
        threads: TSX_THREADS,
        handlers: {
          [queue]: { module: new URL('../support/thread-handlers/block.ts', import.meta.url) },
        },
      });
      await scheduler.event('listener:connected');
      const id = await client.enqueue(queue, { began, until: released, then });
      await until(() => existsSync(began));
      return {
        id,
        scheduler,
        release: () => writeFileSync(released, ''),
        seen: `${released}.seen`,
      };
    }

    test('S20 knows of a cancel that was told while the thread was busy', async () => {
      const { id, scheduler, release } = await blocking('throws', 60_000);
      await client.cancel(id);
      await scheduler.event('job:aborted');
      release();
      expect(await scheduler.settled(id)).toMatchObject({ status: 'cancelled' });
    });

    test('S20 knows of the renewals that were told while the thread was busy', async () => {
      const { id, scheduler, release } = await blocking('says', 2000);
      const { rows } = await pool.query<{ expires_at: Date }>(
        'select expires_at from leasehold.lease where job_id = $1',
        [id],
      );
      const first = rows[0]?.expires_at ?? new Date();
      // The first lease, which is all that the thread has heard of, has passed by far.
      await until(async () => {
        const passed = await pool.query('select clock_timestamp() > $1 as passed', [first]);
        return passed.rows[0].passed;
      });
      release();
      expect(await scheduler.settled(id)).toMatchObject({ status: 'completed' });
      expect(await client.job(id)).toMatchObject({ result: { aborted: false } });
    });

    test('S20 has fired by the thread’s own clock while the scheduler’s thread is busy as well', async () => {
      const { id, scheduler, release, seen } = await blocking('throws', 2000);
      // Nothing is told to the thread meanwhile.
      busy(2100);
      release();
      while (!existsSync(seen)) busy(1);
      expect(readFileSync(seen, 'utf8')).toBe('lease_lost');
      await scheduler.event('job:aborted', ({ reason }) => reason === 'lease_lost');
      await until(() => scheduler.running === 0);
      expect(await client.job(id)).toMatchObject({ failures: 0 });
    });
  });
});
