import pg from 'pg';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { CheckpointSlot } from '../../client/checkpoint.ts';
import { Client } from '../../client/index.ts';
import { JsonText } from '../../client/json.ts';
import { Portion } from '../../client/portion.ts';
import { createDatabase } from '../support/database.ts';
import { startProxy } from '../support/proxy.ts';
import { Gate, startRecorded, TSX_THREADS } from '../support/recorded.ts';
import {
  ASSERT_LEASE,
  another,
  CANCEL,
  COMPLETE,
  expire,
  FAIL,
  HEARTBEAT,
  type Held,
  ids,
  LEASE,
  lease,
  leased,
  REAP,
  reaped,
  Session,
  STATE,
  tokens,
} from '../support/sessions.ts';
import { until } from '../support/wait.ts';

const url = await createDatabase();
const admin = await Session.open(url);
const one = await Session.open(url);
const two = await Session.open(url);

const pool = new pg.Pool({ connectionString: url, application_name: 'test' });
afterAll(() => pool.end());
const client = new Client(pool);
let queues = 0;

async function createQueue(settings = {}): Promise<string> {
  const queue = `batches ${++queues}`;
  await client.createQueue(queue, settings);
  return queue;
}

async function proxied() {
  const proxy = await startProxy(url);
  onTestFinished(() => proxy.close());
  return proxy;
}

const proof = ({ jobId, token }: Held) => [jobId, token];
const DEAD_LETTER = 'select status from leasehold.dead_letter($1, $2)';
const RELEASE = 'select status from leasehold.release($1, $2)';

/** Runs `work` while `one` has done something that it has yet to commit; nothing may wait for that. */
async function meanwhile<T>(first: () => Promise<unknown>, work: () => Promise<T>): Promise<T> {
  await two.rows(`set lock_timeout = '2s'`);
  await one.begin();
  try {
    await first();
    return await work();
  } finally {
    await one.rollback();
    await two.rows('reset lock_timeout');
  }
}

const many = (session: Session, call: string, held: readonly Held[]) =>
  session.column(`select status from leasehold.${call}($1, $2)`, [ids(held), tokens(held)]);

const completeMany = ({ jobId, token }: Held) =>
  `leasehold.complete_many(array[${jobId}], array['${token}'::uuid])`;

/** A queue that keeps nothing of a completed job, with leased jobs in it. */
async function forgetful(count: number): Promise<Held[]> {
  const first = await leased(admin);
  await admin.rows(`select leasehold.create_queue($1, p_keep_completed => '0')`, [first.queue]);
  const all = [first];
  while (all.length < count) all.push(await another(admin, first.queue));
  return all;
}

/** The same jobs under the leases that others have taken since. */
async function takenOver(held: readonly Held[]): Promise<Held[]> {
  await expire(admin, held);
  await admin.rows(REAP);
  const queue = held[0]?.queue ?? '';
  const taken: Held[] = [];
  while (taken.length < held.length) taken.push(await lease(admin, queue));
  return taken;
}

describe('S08 settling waits for nobody', () => {
  test.each([
    ['complete_many', 'completed'],
    ['fail_many', 'failed'],
    ['release_many', 'released'],
    ['dead_letter_many', 'dead'],
  ])('S08 %s answers busy for a lease that is held, and settles the others', async (call, done) => {
    const all = [await leased(admin), await leased(admin), await leased(admin)] as const;
    const statuses = await meanwhile(
      () => one.value(ASSERT_LEASE, proof(all[1])),
      () => many(two, call, all),
    );
    expect(statuses).toEqual([done, 'busy', done]);
    expect(await many(two, call, [all[1]])).toEqual([done]);
  });

  test.each(['complete_many', 'fail_many', 'release_many', 'dead_letter_many'])(
    'S08 %s answers busy for a reaped job that is being leased',
    async (call) => {
      const held = await reaped(admin);
      const other = await leased(admin);
      const [busy] = await meanwhile(
        () => one.rows(LEASE, [held.queue]),
        () => many(two, call, [held, other]),
      );
      expect(busy).toBe('busy');
      expect(await admin.value(STATE, [held.jobId])).toBe('ready');
    },
  );

  test('S08 complete_many settles what was touched but is not held any more', async () => {
    const held = await leased(admin);
    await one.begin();
    await one.value(COMPLETE, proof(held));
    await one.rollback();
    await one.value(ASSERT_LEASE, proof(held));
    expect(await many(two, 'complete_many', [held])).toEqual(['completed']);
  });

  test('S08 a single call waits for a stranger as long as its caller would, and not for ever', async () => {
    const held = await leased(admin);
    const calls = [COMPLETE, FAIL, RELEASE, DEAD_LETTER, HEARTBEAT, ASSERT_LEASE, CANCEL];
    const sessions = await Promise.all(calls.map(() => Session.open(url)));
    const ask = () =>
      Promise.all(
        calls.map((call, nth) =>
          sessions[nth]?.outcome(call, call === CANCEL ? [held.jobId] : proof(held)),
        ),
      );
    await one.begin();
    await one.value(COMPLETE, proof(held));
    expect(await sessions[0]?.outcome(COMPLETE, proof(held))).toBe('55P03');

    for (const session of sessions) await session.rows(`set lock_timeout = '10ms'`);
    expect(await ask()).toEqual(calls.map(() => '55P03'));
    await expect(sessions[0]?.value(COMPLETE, proof(held))).rejects.toThrow(
      `job ${held.jobId} is held by another transaction`,
    );
    // The caller's own setting is as it was.
    expect(await sessions[0]?.value('show lock_timeout')).toBe('10ms');
    await one.rollback();
    expect(await sessions[0]?.value(COMPLETE, proof(held))).toBe('completed');
  });

  test('S08 every call that may wait keeps to a shorter lock_timeout of its caller', async () => {
    const held = await leased(admin);
    const { queue } = held;
    const id = '00000000-0000-4000-8000-000000000008';
    await admin.rows(`select leasehold.enqueue($1, '1') from generate_series(1, 2)`, [queue]);
    await admin.rows(`select leasehold.register_worker('${id}', array[$1])`, [queue]);
    const dead = await another(admin, queue);
    await admin.value(DEAD_LETTER, proof(dead));
    await admin.rows(`update leasehold.job set dedup_key = 'key' where job_id = $1`, [dead.jobId]);
    const enqueued = `leasehold.enqueue($1, '1', p_dedup_key => 'key')`;
    const requested = `leasehold.lease_jobs(array[$1], gen_random_uuid(), 1, null, '${id}')`;
    const registered = `leasehold.register_worker('${id}', array[$1])`;
    const paused = 'leasehold.pause_queue($1)';
    const calls: [string, string][] = [
      [enqueued, enqueued],
      [enqueued, `leasehold.enqueue_many($1, '[{"payload": 1, "dedup_key": "key"}]')`],
      [enqueued, 'leasehold.redrive(p_queue => $1)'],
      [requested, requested],
      [registered, registered],
      [registered, `leasehold.retire_worker('${id}') where $1::text is not null`],
      [paused, paused],
      [paused, 'leasehold.create_queue($1)'],
    ];
    await two.rows(`set lock_timeout = '10ms'`);
    await two.rows(`set statement_timeout = '3s'`);
    const outcomes: (string | null)[] = [];
    for (const [first, second] of calls) {
      await one.begin();
      await one.rows(`select ${first}`, [queue]);
      outcomes.push(await two.outcome(`select ${second}`, [queue]));
      await one.rollback();
    }
    await one.begin();
    await one.rows('lock table leasehold.lease in share mode');
    outcomes.push(await two.outcome(`select ${completeMany(held)}`));
    await one.rollback();
    await admin.rows('select leasehold.pause_queue($1)', [queue]);
    const empty = await createQueue();
    await admin.rows('select leasehold.pause_queue($1)', [empty]);
    for (const [name, call] of [
      [queue, 'leasehold.resume_queue($1)'],
      [empty, 'leasehold.drop_queue($1)'],
    ]) {
      await one.begin();
      await one.rows('select leasehold.resume_queue($1)', [name]);
      outcomes.push(await two.outcome(`select ${call}`, [name]));
      await one.rollback();
    }
    await two.rows('reset statement_timeout');
    expect(outcomes).toEqual(outcomes.map(() => '55P03'));
    // What they answer leaves the caller's own setting as it was.
    await two.begin();
    for (const [, call] of calls) await two.rows(`select ${call}`, [queue]);
    await two.rows(`select ${completeMany(held)}`);
    expect(await two.value('show lock_timeout')).toBe('10ms');
    await two.rows('set local lock_timeout to default');
    for (const [, call] of calls) await two.rows(`select ${call}`, [queue]);
    expect(await two.value('show lock_timeout')).toBe('0');
    await two.rollback();
    await two.rows('reset lock_timeout');
  });

  test.each(['complete_many', 'fail_many', 'heartbeat_many'])(
    'S08 %s does not wait for a job that is being erased',
    async (call) => {
      const stale = await forgetful(1);
      const [holder] = await takenOver(stale);
      const other = await leased(admin);
      const [lost, settled] = await meanwhile(
        () => one.value(COMPLETE, [holder?.jobId, holder?.token]),
        () => many(two, call, [...stale, other]),
      );
      expect(lost).toMatch(/lost$/);
      expect(settled).toMatch(/^(completed|failed|ok)$/);
    },
  );

  test('S08 a transaction that was told a lease is lost holds up nobody', async () => {
    const stale = await forgetful(2);
    const holders = await takenOver(stale);
    const statuses = await meanwhile(
      () => many(one, 'complete_many', stale),
      () => many(two, 'complete_many', holders),
    );
    expect(statuses).toEqual(['completed', 'completed']);
  });

  test('S08 stale tokens in another order do not deadlock with the holder', async () => {
    const stale = await forgetful(2);
    const holders = await takenOver(stale);
    const [first, second] = stale as [Held, Held];
    const statuses = await meanwhile(
      () => many(one, 'complete_many', [second]),
      async () => {
        await two.begin();
        const settled = await many(two, 'complete_many', holders.slice(0, 1));
        const lost = await many(one, 'complete_many', [first]);
        settled.push(...(await many(two, 'complete_many', holders.slice(1))));
        await two.commit();
        return { settled, lost };
      },
    );
    expect(statuses).toEqual({ settled: ['completed', 'completed'], lost: ['lease_lost'] });
  });

  test('S08 an answer from an earlier call waits for replication all the same', async () => {
    const held = await leased(admin);
    await admin.value(COMPLETE, proof(held));
    const id = 'select pg_current_xact_id_if_assigned()';
    const end = 'select pg_current_wal_insert_lsn()';
    const calls: [string, string][] = [
      [
        `select status from leasehold.complete_many(array[$1::bigint], array[$2::uuid])`,
        'already_completed',
      ],
      [
        `select status from leasehold.fail_many(array[$1::bigint], array[$2::uuid])`,
        'already_completed',
      ],
      [`select status from leasehold.heartbeat_many(array[$1::bigint], array[$2::uuid])`, 'lost'],
    ];
    for (const [call, status] of calls) {
      await one.begin();
      const before = await one.value(end);
      expect(await one.value(call, proof(held))).toBe(status);
      // A commit waits if its transaction has an id and has written to the log.
      expect(await one.value(id)).not.toBeNull();
      expect(await one.value(end)).not.toBe(before);
      await one.commit();
    }
  });

  test('S08 a cancel or a pause that is repeated waits for replication all the same', async () => {
    const queue = await createQueue();
    const job = await admin.value(`select leasehold.enqueue($1, '1')`, [queue]);
    const calls: [string, string | null, string][] = [
      [CANCEL, job, 'already_cancelled'],
      ['select leasehold.pause_queue($1)', queue, 'f'],
      ['select leasehold.resume_queue($1)', queue, 'f'],
    ];
    const end = 'select pg_current_wal_insert_lsn()';
    for (const [call, subject, answer] of calls) {
      await admin.value(call, [subject]);
      await one.begin();
      const before = await one.value(end);
      expect(await one.value(call, [subject])).toBe(answer);
      expect(await one.value('select pg_current_xact_id_if_assigned()')).not.toBeNull();
      expect(await one.value(end)).not.toBe(before);
      await one.commit();
    }
  });

  test('S08 purge_queue leaves a job whose dedup key another transaction holds', async () => {
    const queue = await createQueue();
    const enqueue = `select leasehold.enqueue($1, '1', p_dedup_key => $2)`;
    for (const key of ['held', 'free']) await admin.value(enqueue, [queue, key]);
    const purge = () => two.value('select leasehold.purge_queue($1)', [queue]);
    expect(await meanwhile(() => one.value(enqueue, [queue, 'held']), purge)).toBe('1');
    expect(await purge()).toBe('1');
  });

  test('S08 purge_queue leaves what another transaction holds, and removes the rest', async () => {
    const { queue } = await leased(admin);
    await admin.rows(`select leasehold.enqueue($1, '1') from generate_series(1, 3)`, [queue]);
    await admin.rows(`select leasehold.enqueue($1, '1', p_delay => '1 hour')`, [queue]);
    const purge = () => two.value('select leasehold.purge_queue($1)', [queue]);
    expect(await meanwhile(() => one.rows(LEASE, [queue]), purge)).toBe('3');
    expect(await purge()).toBe('1');
  });
});

describe('S08 a scheduler', () => {
  test('S08 one leaked transaction stops neither other jobs nor leasing nor maintenance', async () => {
    const queue = await createQueue();
    const leaking = await client.enqueue(queue, 'leak', { priority: 0 });
    const others = await client.enqueueMany(
      queue,
      Array.from({ length: 100 }, (_, payload) => ({ payload })),
    );
    const leak = await pool.connect();
    const connection = { connectionString: url, application_name: 'beside a leak' };
    const leaked = new Gate();
    const scheduler = await startRecorded({
      connection,
      callTimeoutMs: 2000,
      handlers: {
        [queue]: async ({ id, payload }, { token }) => {
          if (payload !== 'leak') return leaked.pass();
          await leak.query('begin');
          await client.using(leak).assertLease(id, token);
          leaked.open();
        },
      },
    });
    await Promise.all(others.map((id) => scheduler.settled(id)));
    // What is due later is promoted, leased and settled too.
    const later = await client.enqueue(queue, 'later', { delayMs: 50 });
    expect(await scheduler.settled(later)).toMatchObject({ status: 'completed' });

    const { rows } = await pool.query(
      `select count(*)::int4 as sessions, count(*) filter (where wait_event_type = 'Lock')::int4 as waiting
       from pg_stat_activity where application_name = 'beside a leak'`,
    );
    expect(rows[0].waiting).toBe(0);
    expect(rows[0].sessions).toBeLessThanOrEqual(4);
    expect((await client.job(leaking)).state).toBe('leased');
    await leak.query('rollback');
    leak.release();
    expect(await scheduler.settled(leaking)).toMatchObject({ status: 'completed' });
    expect(scheduler.eventsOf('call:failed')).toEqual([]);
  });

  test('S08 a job keeps its slot until the database has taken its outcome', async () => {
    const queue = await createQueue();
    const [held, next] = await client.enqueueMany(queue, [{ payload: 1 }, { payload: 2 }]);
    const proxy = await proxied();
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 1,
      pollMs: 50,
      handlers: {
        [queue]: async ({ id }) => {
          if (id !== held) return;
          await one.begin();
          await one.rows('select from leasehold.lease where job_id = $1 for update', [held]);
        },
      },
    });
    await until(() => proxy.seen('complete_many(').length >= 3);
    expect(scheduler.eventsOf('job:started')).toHaveLength(1);
    await one.rollback();
    for (const id of [held, next]) await scheduler.settled(id ?? '');
  });

  test('S08 outcomes that are held make Node.js warn of nothing, however many they are', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on('warning', note);
    onTestFinished(() => void process.off('warning', note));
    const queue = await createQueue();
    const payloads = Array.from({ length: 20 }, (_, payload) => ({ payload }));
    const ids = await client.enqueueMany(queue, payloads);
    const [proxy, gate] = [await proxied(), new Gate()];
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: ids.length,
      handlers: { [queue]: () => gate.pass() },
    });
    await until(() => gate.reached === ids.length);
    await one.begin();
    await one.rows('select from leasehold.lease where job_id = any ($1) for update', [ids]);
    gate.open();
    await until(() => proxy.seen('complete_many(').length >= 3);
    await one.rollback();
    for (const id of ids) await scheduler.settled(id);
    expect(warnings).toEqual([]);
  });

  test('S08 an outcome whose last checkpoint meets a held lease holds up no other', async () => {
    const queue = await createQueue();
    const leaking = await client.enqueue(queue, 'leak');
    const leak = await pool.connect();
    const scheduler = await startRecorded({
      connection: url,
      checkpointMs: 3_600_000,
      handlers: {
        [queue]: async ({ id, payload }, context) => {
          if (payload !== 'leak') return;
          await leak.query('begin');
          await client.using(leak).complete(id, context.token);
          await context.checkpoint('the last');
          context.fail('as said', { retryInMs: 3_600_000 });
        },
      },
    });
    await until(() => scheduler.eventsOf('job:started').length === 1);
    await scheduler.settled(await client.enqueue(queue, 'other'));
    await leak.query('rollback');
    leak.release();
    expect(await scheduler.settled(leaking)).toMatchObject({ status: 'failed' });
    expect((await client.job(leaking)).checkpoint).toBe('the last');
  });
});

/** What happens to a checkpoint that is saved, until the test ends. */
async function whenSaving(deed: string): Promise<() => Promise<void>> {
  const { rows } = await pool.query<{ body: string }>(
    `select pg_get_functiondef('leasehold._save_checkpoints'::regproc) as body`,
  );
  const restore = async (): Promise<void> => {
    await pool.query(rows[0]?.body ?? '');
  };
  onTestFinished(restore);
  await pool.query(
    `create or replace function leasehold._save_checkpoints(p_job_ids bigint[], p_checkpoints jsonb[])
       returns void language plpgsql as $$ begin ${deed} end $$`,
  );
  return restore;
}

describe('S10 a flood of checkpoints', () => {
  const module = new URL('../support/thread-handlers/flush.ts', import.meta.url);

  test('S10 any number of checkpoints between two saves is one checkpoint', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const scheduler = await startRecorded({
      connection: url,
      handlers: {
        [queue]: async ({ attempt }, { checkpoint, release }) => {
          if (attempt > 1) return;
          for (let at = 1; at < 30_000; at++) void checkpoint(at, { flush: at % 2 === 0 });
          await checkpoint(30_000, { flush: true });
          release({ delayMs: 3_600_000 });
        },
      },
    });
    expect(await scheduler.settled(id)).toMatchObject({ status: 'released' });
    expect((await client.job(id)).checkpoint).toBe(30_000);
  });

  test('S10 an attempt that ends makes an error only for those who wait for a checkpoint', async () => {
    const made: Error[] = [];
    const make = () => {
      made.push(new Error('over'));
      return made[0] as Error;
    };
    const slot = new CheckpointSlot();
    slot.release(make);
    expect(made).toEqual([]);
    slot.offer(new JsonText('1'));
    const waits = [slot.wait(), slot.wait()];
    slot.release(make);
    expect(await Promise.allSettled(waits)).toEqual([
      { status: 'rejected', reason: made[0] },
      { status: 'rejected', reason: made[0] },
    ]);
    expect(made).toHaveLength(1);
  });

  test('S10 whoever waits for a checkpoint does not wait for later ones', async () => {
    const queue = await createQueue();
    const id = await client.enqueue(queue, {});
    const proxy = await proxied();
    const held = proxy.plant({
      sql: 'heartbeat_many(',
      at: 'before-reply',
      deed: { delayMs: 100 },
    });
    const scheduler = await startRecorded({
      connection: proxy.url,
      handlers: {
        [queue]: async (_, { checkpoint }) => {
          const first = checkpoint('first', { flush: true });
          await held.struck;
          void checkpoint('second');
          await first;
        },
      },
    });
    await scheduler.settled(id);
    expect((await client.job(id)).checkpoint).toBe('second');
  });

  test.each(['here', 'in a thread'])(
    'S10 a flushed checkpoint is saved, though the database refuses it for a while (%s)',
    async (where) => {
      const queue = await createQueue();
      const id = await client.enqueue(queue, { checkpoint: { at: 1 } });
      const restore = await whenSaving(`raise insufficient_privilege using message = 'revoked';`);
      const scheduler = await startRecorded({
        connection: url,
        threads: TSX_THREADS,
        handlers: {
          [queue]:
            where === 'here'
              ? async (_, { checkpoint }) => {
                  await checkpoint({ at: 1 }, { flush: true });
                  return (await client.job(id)).checkpoint;
                }
              : { module },
        },
      });
      await until(() => scheduler.eventsOf('call:failed').length >= 2);
      expect((await client.job(id)).state).toBe('leased');
      await restore();
      await scheduler.settled(id);
      const saved = { at: 1 };
      expect(await client.job(id)).toMatchObject({
        checkpoint: saved,
        result: where === 'here' ? saved : 'saved',
      });
    },
  );

  test.each(['here', 'in a thread'])(
    'S10 a flushed checkpoint that the database refuses rejects with its error, alone (%s)',
    async (where) => {
      const queue = await createQueue();
      const bad = await client.enqueue(queue, { checkpoint: 'bad' });
      const good = await client.enqueue(queue, { checkpoint: 'good' });
      await whenSaving(
        `if '"bad"' = any (p_checkpoints) then raise data_exception using message = 'not this'; end if;`,
      );
      const scheduler = await startRecorded({
        connection: url,
        threads: TSX_THREADS,
        handlers: {
          [queue]:
            where === 'here'
              ? async ({ payload }, { checkpoint }) => {
                  const { checkpoint: data } = payload as { checkpoint: unknown };
                  return checkpoint(data, { flush: true }).then(
                    () => 'saved',
                    (error) => error.code,
                  );
                }
              : { module },
        },
      });
      await Promise.all([scheduler.settled(bad), scheduler.settled(good)]);
      expect((await client.job(bad)).result).toBe('invalid_argument');
      expect((await client.job(good)).result).toBe('saved');
    },
  );

  test.each(['here', 'in a thread'])(
    'S10 whoever waits for a checkpoint in an outage is told that the signal has fired (%s)',
    async (where) => {
      const queue = await createQueue();
      const id = await client.enqueue(queue, { checkpoint: 'never' });
      const proxy = await proxied();
      let told: unknown;
      const scheduler = await startRecorded({
        connection: proxy.url,
        leaseMs: 2000,
        threads: TSX_THREADS,
        handlers: {
          [queue]:
            where === 'here'
              ? async (_, { checkpoint }) => {
                  proxy.cut();
                  await checkpoint('never', { flush: true }).catch((error) => {
                    told = error.code;
                  });
                }
              : { module },
        },
        onEvent: ({ type }) => {
          if (type === 'job:started' && where !== 'here') proxy.cut();
        },
      });
      await scheduler.event('job:aborted', ({ jobId }) => jobId === id);
      if (where === 'here') await until(() => told === 'lease_lost');
      proxy.heal();
      await scheduler.settled(id);
      const { result, attempt } = await client.job(id);
      if (where !== 'here') expect([result, attempt]).toEqual(['lease_lost', 1]);
    },
  );

  test('S10 a failed round binds flushes too', async () => {
    const queue = await createQueue();
    await client.enqueue(queue, {});
    await whenSaving(`raise too_many_connections;`);
    const failedAt: number[] = [];
    const scheduler = await startRecorded({
      connection: url,
      cancelGraceMs: 100,
      handlers: {
        [queue]: async (_, { checkpoint, signal }) => {
          while (!signal.aborted) {
            void checkpoint('again', { flush: true });
            await new Promise(setImmediate);
          }
        },
      },
      onEvent: (event) => {
        if (event.type === 'call:failed' && event.call === 'heartbeat')
          failedAt.push(performance.now());
      },
    });
    await until(() => failedAt.length >= 5);
    // The least that a backoff lasts is 25 ms.
    const [first = 0, , , , fifth = 0] = failedAt;
    expect(fifth - first).toBeGreaterThanOrEqual(4 * 25);
    void scheduler.stop({ graceMs: 0 });
  });
});

describe('S09 batches are bounded by bytes', () => {
  const KIB = 1024;
  const lease = (queues: readonly string[], limit: number, requestId: string | null = null) =>
    two.rows(
      `select job_id, queue, token, attempt from leasehold.lease_jobs(
         $1, '00000000-0000-4000-8000-000000000009', $2, null, $3)`,
      [queues, limit, requestId],
    );
  /** Jobs whose payload is a text of so many kibibytes. */
  const fill = async (count: number, kib: number, settings = {}): Promise<string> => {
    const queue = await createQueue(settings);
    await pool.query(
      `select leasehold.enqueue_many($1, jsonb_agg(
         jsonb_build_object('payload', repeat('x', $3::integer))))
       from generate_series(1, $2::integer)`,
      [queue, count, kib * KIB],
    );
    return queue;
  };

  test('S09 lease_jobs stops before the jobs of a call weigh too much, in the order of the line', async () => {
    const queue = await fill(12, 900);
    const found: string[] = [];
    while (found.length < 12) {
      const jobs = await lease([queue], 12);
      expect(jobs).toHaveLength(4);
      found.push(...jobs.map(({ job_id }) => job_id ?? ''));
    }
    expect(found).toEqual(found.toSorted((one, other) => Number(one) - Number(other)));
    expect(await lease([queue], 12)).toEqual([]);
    expect(await client.queueStats(queue)).toMatchObject([{ ready: 0, leased: 12 }]);
  });

  test('S09 lease_jobs gives one job, however much it weighs, and small ones up to the limit', async () => {
    const great = await fill(2, 9 * KIB, { maxPayloadBytes: 10 * KIB * KIB });
    expect(await lease([great], 10)).toHaveLength(1);
    const small = await fill(1000, 1);
    expect(await lease([small], 1000)).toHaveLength(1000);
  });

  test('S09 lease_jobs bounds what the jobs of all queues of a call weigh', async () => {
    const queues = await Promise.all(Array.from({ length: 6 }, () => fill(4, 900)));
    const jobs = await lease(queues, 100);
    expect(jobs.length * 900 * KIB).toBeLessThan(8 * KIB * KIB);
    expect(new Set(jobs.map(({ queue }) => queue)).size).toBeGreaterThan(1);
  });

  test('S09 headers and checkpoints weigh too', async () => {
    const queue = await createQueue();
    const headers = { note: 'x'.repeat(600 * KIB) };
    for (let job = 0; job < 5; job++)
      await client.enqueue(queue, 'y'.repeat(600 * KIB), { headers });
    const [first, ...others] = await lease([queue], 3);
    expect(others).toHaveLength(2);
    await client.heartbeat(first?.job_id ?? '', first?.token ?? '', {
      checkpoint: 'z'.repeat(1000 * KIB),
    });
    for (const { job_id, token } of [first, ...others] as Record<string, string>[]) {
      await client.release(job_id ?? '', token ?? '');
    }
    expect(await lease([queue], 3)).toHaveLength(2);
  });

  test('S09 a call that is repeated for fewer jobs hands the others back, and leaks none', async () => {
    const queue = await fill(5, 1);
    const requestId = '00000000-0000-4000-8000-0000000009a1';
    const all = await lease([queue], 4, requestId);
    expect(await lease([queue], 4, requestId)).toEqual(all);
    expect(await lease([queue], 2, requestId)).toEqual(all.slice(0, 2));
    expect(await lease([queue], 4, requestId)).toEqual(all.slice(0, 2));
    expect(await client.queueStats(queue)).toMatchObject([{ ready: 3, leased: 2 }]);
    // Handed back free of charge, and in its place in line.
    expect(await lease([queue], 1)).toMatchObject([{ job_id: all[2]?.job_id, attempt: '2' }]);
    expect(await client.job(all[2]?.job_id ?? '')).toMatchObject({ losses: 0, releases: 1 });
  });

  test('S09 jobs start over a slow link, though all that were asked for would not come in time', async () => {
    const queue = await fill(12, 60);
    const proxy = await proxied();
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 12,
      callTimeoutMs: 1000,
      onEvent: ({ type }) => {
        if (type === 'worker:started') proxy.bytesPerSecond = 300 * KIB;
      },
      handlers: { [queue]: () => undefined },
    });
    await until(() => scheduler.eventsOf('job:settled').length >= 12);
    const stats = await client.queueStats(queue);
    expect(stats).toMatchObject([{ ready: 0, leased: 0, dead: 0, completed: 12 }]);
  });

  test('S09 results arrive over a slow link, though all of them would not in time', async () => {
    const queue = await fill(12, 1);
    const proxy = await proxied();
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 12,
      callTimeoutMs: 1000,
      handlers: {
        [queue]: async () => {
          await gate.pass();
          return 'y'.repeat(60 * KIB);
        },
      },
    });
    await until(() => gate.reached === 12);
    proxy.bytesPerSecond = 300 * KIB;
    gate.open();
    await until(() => scheduler.eventsOf('job:settled').length >= 12);
    expect(await client.queueStats(queue)).toMatchObject([{ leased: 0, completed: 12 }]);
    expect(scheduler.eventsOf('outcome:refused')).toEqual([]);
  });

  test('S09 a result that never arrives in time holds up no other outcome', async () => {
    const queue = await fill(2, 1);
    const proxy = await proxied();
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: proxy.url,
      callTimeoutMs: 1000,
      handlers: {
        [queue]: async ({ payload }) => {
          if (payload === 'small') return 'small';
          await gate.pass();
          return 'y'.repeat(300 * KIB);
        },
      },
    });
    await until(() => gate.reached === 2);
    proxy.bytesPerSecond = 50 * KIB;
    gate.open();
    await scheduler.event('call:failed', ({ call }) => call === 'settle');
    await scheduler.settled(await client.enqueue(queue, 'small'));
    expect(await client.queueStats(queue)).toMatchObject([{ leased: 2, completed: 1 }]);
  });

  test('S09 a batch that the server gives up for its size is sent again in parts', () => {
    const portion = new Portion(100);
    for (const code of ['57014', '53200']) {
      portion.failed(Object.assign(new Error('too much'), { code }), 100);
    }
    expect(portion.size).toBe(25);
    portion.failed(Object.assign(new Error('away'), { code: '57P01' }), 25);
    expect(portion.size).toBe(25);
    portion.answered();
    expect(portion.size).toBe(50);
  });

  test('S09 checkpoints over a slow link cost no lease, neither theirs nor that of a bystander', async () => {
    const queue = await fill(4, 1);
    const bystander = await client.enqueue(queue, 'bystander', { priority: 0 });
    const proxy = await proxied();
    const gate = new Gate();
    const saved = new Set<string>();
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 5,
      leaseMs: 12_000,
      heartbeatMs: 3000,
      handlers: {
        [queue]: async ({ id }, { checkpoint }) => {
          await gate.pass();
          if (id === bystander) return until(() => saved.size === 4);
          await checkpoint('z'.repeat(120 * KIB), { flush: true });
          saved.add(id);
        },
      },
    });
    await until(() => gate.reached === 5);
    const { rows } = await pool.query('select expires_at from leasehold.lease where job_id = $1', [
      bystander,
    ]);
    const past = 'select clock_timestamp() > $1 as is_past';
    // Not even one of them arrives in time, renewals do.
    proxy.bytesPerSecond = 10 * KIB;
    gate.open();
    await until(async () => (await pool.query(past, [rows[0].expires_at])).rows[0].is_past);
    expect(scheduler.eventsOf('job:lost')).toEqual([]);
    // All of them take longer than a renewal may, each one does not.
    proxy.bytesPerSecond = 150 * KIB;
    await until(() => scheduler.eventsOf('job:settled').length >= 5);
    expect(scheduler.eventsOf('job:lost')).toEqual([]);
    expect(await client.queueStats(queue)).toMatchObject([{ leased: 0, completed: 5 }]);
  });

  test('S09 results that end at once go in calls that are not too large, with every quote counted twice', async () => {
    const queue = await fill(12, 1);
    const proxy = await proxied();
    const gate = new Gate();
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 12,
      handlers: {
        [queue]: async () => {
          await gate.pass();
          return '"'.repeat(250 * KIB);
        },
      },
    });
    await until(() => gate.reached === 12);
    gate.open();
    await until(() => scheduler.eventsOf('job:settled').length >= 12);
    expect(proxy.seen('complete_many(').length).toBeGreaterThanOrEqual(3);
  });
});
