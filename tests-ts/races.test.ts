import { beforeEach, describe, expect, test } from 'vitest';
import { createDatabase } from './support/database.ts';
import {
  ASSERT_LEASE,
  another,
  CANCEL,
  COMPLETE,
  expire,
  expired,
  FAIL,
  HEARTBEAT,
  type Held,
  ids,
  LEASE,
  lease,
  leased,
  REAP,
  type Row,
  reaped,
  Session,
  STATE,
  tokens,
} from './support/sessions.ts';
import { until } from './support/wait.ts';

const url = await createDatabase();
const hot = await createDatabase();
const admin = await Session.open(url);
const one = await Session.open(url);
const two = await Session.open(url);

const proof = ({ jobId, token }: Held) => [jobId, token];
const stateOf = ({ jobId }: Held) => admin.value(STATE, [jobId]);
const job = async ({ jobId }: Held) => {
  const [row] = await admin.rows(
    'select state, attempt, failures, losses, late, generation from leasehold.job($1)',
    [jobId],
  );
  return row;
};

/** `first` is done and not committed; `second` waits for it, and goes on once it is. */
async function inOrder<T>(
  first: () => Promise<unknown>,
  second: () => Promise<T>,
  end: 'commit' | 'rollback' = 'commit',
): Promise<T> {
  await one.begin();
  await first();
  const waiting = second();
  await admin.untilBlocked(two);
  await one[end]();
  return waiting;
}

/** `first` is done and not committed; `second` must not wait for it. */
async function meanwhile<T>(
  first: () => Promise<unknown>,
  second: () => Promise<T>,
  end: 'commit' | 'rollback' = 'commit',
): Promise<T> {
  await one.begin();
  await first();
  try {
    return await second();
  } finally {
    await one[end]();
  }
}

beforeEach(async () => {
  // Nobody of another test is in the way, and what may not wait fails at once if it does.
  await admin.rows('delete from leasehold.lease');
  await admin.rows('delete from leasehold.scheduled');
  await one.rows('reset lock_timeout');
  await two.rows('reset lock_timeout');
});

const mayNotWait = () => two.rows(`set lock_timeout = '2s'`);

describe('complete against reap_expired, on an expired lease', () => {
  test('a complete under way is not reaped', async () => {
    const held = await expired(admin);
    await mayNotWait();
    const reapedNow = await meanwhile(
      () => one.value(COMPLETE, proof(held)),
      () => two.value(REAP),
    );
    expect(reapedNow).toBe('0');
    expect(await job(held)).toMatchObject({ state: 'completed', losses: '0', late: 't' });
  });

  test('a complete that is rolled back leaves the lease to be reaped', async () => {
    const held = await expired(admin);
    await meanwhile(
      () => one.value(COMPLETE, proof(held)),
      () => two.value(REAP),
      'rollback',
    );
    expect(await two.value(REAP)).toBe('1');
    expect(await job(held)).toMatchObject({ state: 'ready', losses: '1' });
  });

  test('complete waits for a reaper and takes the job back (G4)', async () => {
    const held = await expired(admin);
    const status = await inOrder(
      () => one.value(REAP),
      () => two.value(COMPLETE, proof(held)),
    );
    expect(status).toBe('completed');
    expect(await job(held)).toMatchObject({ state: 'completed', losses: '0', late: 't' });
  });

  test('complete waits for a reaper that rolls back', async () => {
    const held = await expired(admin);
    const status = await inOrder(
      () => one.value(REAP),
      () => two.value(COMPLETE, proof(held)),
      'rollback',
    );
    expect(status).toBe('completed');
    expect(await job(held)).toMatchObject({ state: 'completed', losses: '0' });
  });

  test('complete waits for a reaper that makes the job dead, and is refused', async () => {
    const held = await expired(admin);
    await admin.rows('select leasehold.create_queue($1, p_max_losses => 1)', [held.queue]);
    const status = await inOrder(
      () => one.value(REAP),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('LH004');
    expect(await stateOf(held)).toBe('dead');
  });

  test('of a thousand in parallel every job is completed exactly once (C25)', async () => {
    await admin.rows(`select leasehold.create_queue('c25')`);
    await admin.rows(
      `select leasehold.enqueue_many('c25',
         (select jsonb_agg('{"payload": 1}'::jsonb) from generate_series(1, 1000)))`,
    );
    const all = (await admin.rows(
      `select job_id as "jobId", token, queue
       from leasehold.lease_jobs(array['c25'], gen_random_uuid(), 1000)`,
    )) as Row[] as unknown as Held[];
    for (const held of all) {
      await expire(admin, [held]);
      const [status] = await Promise.all([one.value(COMPLETE, proof(held)), two.value(REAP)]);
      expect(status).toBe('completed');
    }
    expect(await admin.rows(`select * from leasehold.queue_stats('c25')`)).toMatchObject([
      { ready: '0', scheduled: '0', leased: '0', completed: '1000', dead: '0', pruned: '0' },
    ]);
    expect(
      await admin.value('select count(*) from leasehold.finished where job_id = any ($1)', [
        ids(all),
      ]),
    ).toBe('1000');
  });
});

describe('complete against lease_jobs, on a reaped job', () => {
  test('complete waits for a lease, and is refused once it is there (G4)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.rows(LEASE, [held.queue]),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('LH001');
    expect(await job(held)).toMatchObject({ state: 'leased', attempt: '2' });
  });

  test('complete waits for a lease that is rolled back, and is accepted (G4)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.rows(LEASE, [held.queue]),
      () => two.outcome(COMPLETE, proof(held)),
      'rollback',
    );
    expect(status).toBe('completed');
    expect(await job(held)).toMatchObject({ state: 'completed', attempt: '1', losses: '0' });
  });

  test('a job that is being completed late is not leased', async () => {
    const held = await reaped(admin);
    await mayNotWait();
    const taken = await meanwhile(
      () => one.value(COMPLETE, proof(held)),
      () => two.rows(LEASE, [held.queue]),
    );
    expect(taken).toEqual([]);
    expect(await two.rows(LEASE, [held.queue])).toEqual([]);
    expect(await stateOf(held)).toBe('completed');
  });

  test('a late complete that is rolled back leaves the job to be leased', async () => {
    const held = await reaped(admin);
    await meanwhile(
      () => one.value(COMPLETE, proof(held)),
      () => two.rows(LEASE, [held.queue]),
      'rollback',
    );
    expect(await two.rows(LEASE, [held.queue])).toMatchObject([{ job_id: held.jobId }]);
    expect(await two.outcome(COMPLETE, proof(held))).toBe('LH001');
  });

  test('of a thousand in parallel exactly one wins each time (C26)', async () => {
    await admin.rows(`select leasehold.create_queue('c26')`);
    await admin.rows(
      `create function public.reaped_job() returns table (job_id bigint, token uuid)
       language plpgsql as $$
       begin
         perform leasehold.enqueue('c26', '1');
         return query select leased.job_id, leased.token
           from leasehold.lease_jobs(array['c26'], gen_random_uuid()) as leased;
         update leasehold.lease set expires_at = '2000-01-01';
         perform leasehold.reap_expired();
       end;
       $$`,
    );
    const winners = { complete: 0, lease: 0 };
    for (let round = 0; round < 1000; round++) {
      const [row] = await admin.rows('select * from public.reaped_job()');
      const held = { queue: 'c26', jobId: row?.job_id, token: row?.token } as Held;
      const [status, taken] = await Promise.all([
        one.outcome(COMPLETE, proof(held)),
        two.rows(LEASE, ['c26']),
      ]);
      if (status === 'completed') {
        expect(taken).toEqual([]);
        winners.complete++;
      } else {
        expect([status, taken]).toMatchObject(['LH001', [{ job_id: held.jobId }]]);
        expect(await two.value(COMPLETE, [held.jobId, taken[0]?.token])).toBe('completed');
        winners.lease++;
      }
    }
    expect(winners.complete + winners.lease).toBe(1000);
    expect(await admin.rows(`select * from leasehold.queue_stats('c26')`)).toMatchObject([
      { ready: '0', leased: '0', completed: '1000' },
    ]);
  });
});

describe('a reaped lease that is taken back', () => {
  test('by heartbeat while complete waits: complete is accepted (G4)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.value(HEARTBEAT, proof(held)),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('completed');
  });

  test('by heartbeat while fail waits: fail is accepted (G4)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.value(HEARTBEAT, proof(held)),
      () => two.outcome(FAIL, proof(held)),
    );
    expect(status).toBe('failed');
  });

  test('by heartbeat while another heartbeat waits: both keep it (G4)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.value(HEARTBEAT, proof(held)),
      () => two.outcome(HEARTBEAT, proof(held)),
    );
    expect(status).toBe('ok');
  });

  test('by heartbeat while assert_lease waits: the lease is held (G4, G11)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.value(HEARTBEAT, proof(held)),
      () => two.outcome(ASSERT_LEASE, proof(held)),
    );
    expect(status).toBe('held');
  });

  test('by heartbeat_many while complete waits: complete is accepted (G4)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () =>
        one.value(
          'select status from leasehold.heartbeat_many(array[$1::bigint], array[$2::uuid])',
          proof(held),
        ),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('completed');
  });

  test('by complete while the same complete waits: it is answered as done (G5)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.value(COMPLETE, proof(held)),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('already_completed');
  });

  test('by complete while heartbeat waits: heartbeat hears that the job is finished', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.value(COMPLETE, proof(held)),
      () => two.outcome(HEARTBEAT, proof(held)),
    );
    expect(status).toBe('LH004');
  });
});

describe('heartbeat against reap_expired, on an expired lease', () => {
  test('a heartbeat under way is not reaped', async () => {
    const held = await expired(admin);
    await mayNotWait();
    const reapedNow = await meanwhile(
      () => one.value(HEARTBEAT, proof(held)),
      () => two.value(REAP),
    );
    expect(reapedNow).toBe('0');
    expect(await two.value(REAP)).toBe('0');
    expect(await job(held)).toMatchObject({ state: 'leased', losses: '0' });
  });

  test('heartbeat waits for a reaper and takes the lease back (G4)', async () => {
    const held = await expired(admin);
    const status = await inOrder(
      () => one.value(REAP),
      () => two.value(HEARTBEAT, proof(held)),
    );
    expect(status).toBe('revived');
    expect(await job(held)).toMatchObject({ state: 'leased', losses: '0', attempt: '1' });
    expect(await two.value(REAP)).toBe('0');
  });

  test('heartbeat waits for a lease of the reaped job, and is refused (G4)', async () => {
    const held = await reaped(admin);
    const status = await inOrder(
      () => one.rows(LEASE, [held.queue]),
      () => two.outcome(HEARTBEAT, proof(held)),
    );
    expect(status).toBe('LH001');
  });
});

describe('heartbeat_many', () => {
  const beat = (session: Session, held: readonly Held[]) =>
    session.column('select status from leasehold.heartbeat_many($1, $2)', [
      ids(held),
      tokens(held),
    ]);

  test('answers busy for a job that is being completed, and waits for none', async () => {
    const busy = await leased(admin);
    const others = [await leased(admin), await leased(admin)] as const;
    const all = [others[0], busy, others[1]];
    await mayNotWait();
    const answers = await meanwhile(
      () => one.value(COMPLETE, proof(busy)),
      () => beat(two, all),
    );
    expect(answers).toEqual(['ok', 'busy', 'ok']);
    expect(await beat(two, all)).toEqual(['ok', 'lost', 'ok']);
  });

  test('answers busy for a reaped job that is being completed late, and waits for none', async () => {
    const other = await leased(admin);
    const busy = await reaped(admin);
    await mayNotWait();
    const answers = await meanwhile(
      () => one.value(COMPLETE, proof(busy)),
      () => beat(two, [busy, other]),
    );
    expect(answers).toEqual(['busy', 'ok']);
    expect(await beat(two, [busy, other])).toEqual(['lost', 'ok']);
  });

  test('answers busy for a reaped job that is being leased, and lost afterwards (G4)', async () => {
    const held = await reaped(admin);
    await mayNotWait();
    const answers = await meanwhile(
      () => one.rows(LEASE, [held.queue]),
      () => beat(two, [held]),
    );
    expect(answers).toEqual(['busy']);
    expect(await beat(two, [held])).toEqual(['lost']);
  });

  test('does not wait for a transaction that was told a lease is lost', async () => {
    const lost = await reaped(admin);
    await lease(admin, lost.queue);
    const other = await leased(admin);
    await mayNotWait();
    const answers = await meanwhile(
      () =>
        one.column(
          'select status from leasehold.complete_many(array[$1::bigint], array[$2::uuid])',
          proof(lost),
        ),
      () => beat(two, [lost, other]),
    );
    expect(answers).toEqual(['lost', 'ok']);
  });

  test('renews on the page: at least 95 of 100 updates are HOT', async () => {
    // Room on a page is made of versions that no snapshot needs: let nothing here hold one, neither
    // autovacuum nor the sessions of other tests.
    const calm = await Session.open(hot);
    for (const table of await calm.column(
      `select oid::regclass from pg_class
       where relnamespace = 'leasehold'::regnamespace and relkind = 'r'`,
    )) {
      await calm.rows(`alter table ${table} set (autovacuum_enabled = false)`);
    }
    await calm.rows(`select leasehold.create_queue('hot')`);
    await calm.rows(
      `select leasehold.enqueue_many('hot',
         (select jsonb_agg('{"payload": 1}'::jsonb) from generate_series(1, 500)))`,
    );
    const all = (await calm.rows(
      `select job_id as "jobId", token from leasehold.lease_jobs(array['hot'], gen_random_uuid(), 500)`,
    )) as unknown as Held[];
    // A transaction in another database holds up pruning here: it looks at the oldest of the server.
    const alone = `select pg_snapshot_xmin(now) = pg_snapshot_xmax(now) from pg_current_snapshot() as now`;
    for (let round = 0; round < 20; round++) {
      await until(async () => (await calm.value(alone)) === 't');
      await beat(calm, all);
    }
    for (const held of all.slice(0, 50)) await calm.value(HEARTBEAT, proof(held));
    await calm.rows('select pg_stat_force_next_flush()');
    const [updates] = await calm.rows(
      `select n_tup_upd as all, n_tup_hot_upd as hot from pg_stat_all_tables
       where relid = 'leasehold.lease'::regclass`,
    );
    expect(Number(updates?.all)).toBe(20 * 500 + 50);
    expect(Number(updates?.hot) / Number(updates?.all)).toBeGreaterThan(0.95);
  });
});

describe('cancel', () => {
  test('waits for a complete, and is refused', async () => {
    const held = await leased(admin);
    const outcome = await inOrder(
      () => one.value(COMPLETE, proof(held)),
      () => two.outcome(CANCEL, [held.jobId]),
    );
    expect(outcome).toBe('LH004');
    expect(await stateOf(held)).toBe('completed');
  });

  test('waits for a complete that is rolled back, and asks the holder', async () => {
    const held = await leased(admin);
    const outcome = await inOrder(
      () => one.value(COMPLETE, proof(held)),
      () => two.outcome(CANCEL, [held.jobId]),
      'rollback',
    );
    expect(outcome).toBe('requested');
    expect(await stateOf(held)).toBe('leased');
  });

  test('that is under way holds up a complete, which wins all the same', async () => {
    const held = await leased(admin);
    const status = await inOrder(
      () => one.value(CANCEL, [held.jobId]),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('completed');
  });

  test('waits for a fail, and ends the job at once', async () => {
    const held = await leased(admin);
    const outcome = await inOrder(
      () => one.value(FAIL, proof(held)),
      () => two.outcome(CANCEL, [held.jobId]),
    );
    expect(outcome).toBe('cancelled');
    expect(await stateOf(held)).toBe('cancelled');
  });

  test('waits for a reaper, and ends the job at once', async () => {
    const held = await expired(admin);
    const outcome = await inOrder(
      () => one.value(REAP),
      () => two.outcome(CANCEL, [held.jobId]),
    );
    expect(outcome).toBe('cancelled');
    expect(await two.outcome(COMPLETE, proof(held))).toBe('LH003');
  });

  test('waits for a lease, and asks its holder', async () => {
    const held = await reaped(admin);
    const outcome = await inOrder(
      () => one.rows(LEASE, [held.queue]),
      () => two.outcome(CANCEL, [held.jobId]),
    );
    expect(outcome).toBe('requested');
    expect(await stateOf(held)).toBe('leased');
  });

  test('that is under way keeps a job from being leased', async () => {
    const held = await reaped(admin);
    await mayNotWait();
    const taken = await meanwhile(
      () => one.value(CANCEL, [held.jobId]),
      () => two.rows(LEASE, [held.queue]),
    );
    expect(taken).toEqual([]);
    expect(await stateOf(held)).toBe('cancelled');
  });

  test('waits for another cancel, and answers that it is done', async () => {
    const held = await reaped(admin);
    const outcome = await inOrder(
      () => one.value(CANCEL, [held.jobId]),
      () => two.outcome(CANCEL, [held.jobId]),
    );
    expect(outcome).toBe('already_cancelled');
  });
});

describe('enqueue with a dedup key', () => {
  const enqueue = (session: Session, key: string, window: string) =>
    session.value(
      `select leasehold.enqueue('dedup', '1', p_dedup_key => $1, p_dedup_window => $2)`,
      [key, window],
    );
  const count = (key: string) =>
    admin.value(`select count(*) from leasehold.job where dedup_key = $1`, [key]);

  test.each(['1 hour', '0'])(
    'waits for its twin and returns its job (window %s)',
    async (window) => {
      await admin.rows(`select leasehold.create_queue('dedup')`);
      const key = `twins ${window}`;
      let first: string | null = null;
      const second = await inOrder(
        async () => {
          first = await enqueue(one, key, window);
        },
        () => enqueue(two, key, window),
      );
      expect(second).toBe(first);
      expect(await count(key)).toBe('1');
    },
  );

  test.each(['1 hour', '0'])(
    'waits for a twin that rolls back, and makes the job (window %s)',
    async (window) => {
      await admin.rows(`select leasehold.create_queue('dedup')`);
      const key = `rolled back ${window}`;
      let first: string | null = null;
      const second = await inOrder(
        async () => {
          first = await enqueue(one, key, window);
        },
        () => enqueue(two, key, window),
        'rollback',
      );
      expect(second).not.toBe(first);
      expect(await count(key)).toBe('1');
    },
  );

  test.each(['1 hour', '0'])(
    'waits for a twin that takes an old key anew (window %s)',
    async (window) => {
      await admin.rows(`select leasehold.create_queue('dedup')`);
      const key = `anew ${window}`;
      await admin.rows(CANCEL, [await enqueue(admin, key, '0')]);
      let first: string | null = null;
      const second = await inOrder(
        async () => {
          first = await enqueue(one, key, window);
        },
        () => enqueue(two, key, window),
      );
      expect(second).toBe(first);
      expect(await count(key)).toBe('2');
    },
  );

  test('and batches with the same keys in opposite order do not deadlock', async () => {
    await admin.rows(`select leasehold.create_queue('dedup')`);
    const batch = (session: Session, keys: readonly string[]) =>
      session.value(`select leasehold.enqueue_many('dedup', $1)`, [
        JSON.stringify(keys.map((key) => ({ payload: 1, dedup_key: key, dedup_window: '0' }))),
      ]);
    for (let round = 0; round < 50; round++) {
      const keys = Array.from({ length: 20 }, (_, n) => `batch ${round} ${n}`);
      await Promise.all([batch(one, keys), batch(two, keys.toReversed())]);
    }
    expect(
      await admin.value(`select count(*) from leasehold.job where dedup_key like 'batch %'`),
    ).toBe('1000');
  });
});

describe('assert_lease', () => {
  test('holds off the reaper and everybody else until commit, while heartbeats pass (G11)', async () => {
    const held = await expired(admin);
    await mayNotWait();
    await meanwhile(
      () => one.value(ASSERT_LEASE, proof(held)),
      async () => {
        expect(await two.value(REAP)).toBe('0');
        expect(await two.rows(LEASE, [held.queue])).toEqual([]);
        expect(await two.value(HEARTBEAT, proof(held))).toBe('revived');
        expect(await two.value(HEARTBEAT, proof(held))).toBe('ok');
        expect(
          await two.value(
            'select status from leasehold.heartbeat_many(array[$1::bigint], array[$2::uuid])',
            proof(held),
          ),
        ).toBe('ok');
        expect(await two.value(CANCEL, [held.jobId])).toBe('requested');
        await expire(two, [held]);
        expect(await two.value(REAP)).toBe('0');
      },
    );
    expect(await two.value(REAP)).toBe('1');
  });

  test('holds up a complete of another transaction until commit (G11)', async () => {
    const held = await leased(admin);
    const status = await inOrder(
      () => one.value(ASSERT_LEASE, proof(held)),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('completed');
  });

  test('and complete in one transaction leave nothing to the reaper (G11)', async () => {
    const held = await expired(admin);
    await one.begin();
    await one.value(ASSERT_LEASE, proof(held));
    expect(await two.value(REAP)).toBe('0');
    expect(await one.value(COMPLETE, proof(held))).toBe('completed');
    await one.commit();
    expect(await job(held)).toMatchObject({ state: 'completed', losses: '0' });
  });

  test('waits for a reaper and takes the lease back (G4, G11)', async () => {
    const held = await expired(admin);
    const outcome = await inOrder(
      () => one.value(REAP),
      () => two.outcome(ASSERT_LEASE, proof(held)),
    );
    expect(outcome).toBe('held');
    expect(await stateOf(held)).toBe('leased');
  });

  test('waits for a lease of the reaped job, and undoes what a zombie wrote (G11, C31)', async () => {
    const held = await reaped(admin);
    await admin.rows('create table if not exists public.effect (job_id bigint)');
    await two.begin();
    await two.rows('insert into public.effect values ($1)', [held.jobId]);
    const outcome = await inOrder(
      () => one.rows(LEASE, [held.queue]),
      () => two.outcome(ASSERT_LEASE, proof(held)),
    );
    await two.commit();
    expect(outcome).toBe('LH001');
    expect(await admin.rows('select * from public.effect')).toEqual([]);
  });

  test('waits for a complete, and is refused', async () => {
    const held = await leased(admin);
    const outcome = await inOrder(
      () => one.value(COMPLETE, proof(held)),
      () => two.outcome(ASSERT_LEASE, proof(held)),
    );
    expect(outcome).toBe('LH004');
  });

  test('of a revived lease keeps the job from being leased until commit (G11)', async () => {
    const held = await reaped(admin);
    await mayNotWait();
    await meanwhile(
      () => one.value(ASSERT_LEASE, proof(held)),
      async () => {
        expect(await two.rows(LEASE, [held.queue])).toEqual([]);
        expect(await two.value(REAP)).toBe('0');
      },
    );
    expect(await stateOf(held)).toBe('leased');
  });
});

describe('lease_jobs with a request id', () => {
  const request = (session: Session, queue: string, requestId: string, limit = 3) =>
    session.rows(
      `select job_id, token, attempt from leasehold.lease_jobs(
         array[$1], '00000000-0000-4000-8000-000000000001', $3, null, $2)`,
      [queue, requestId, limit],
    );
  const fill = async (queue: string, count: number) => {
    await admin.rows('select leasehold.create_queue($1)', [queue]);
    await admin.rows(`select leasehold.enqueue($1, '1') from generate_series(1, $2)`, [
      queue,
      count,
    ]);
  };

  test('waits for its twin and returns the same leases (G5)', async () => {
    const requestId = '00000000-0000-4000-8000-0000000000a1';
    await fill('request twins', 5);
    let first: Row[] = [];
    const second = await inOrder(
      async () => {
        first = await request(one, 'request twins', requestId);
      },
      () => request(two, 'request twins', requestId),
    );
    expect(first).toHaveLength(3);
    expect(second).toEqual(first);
    expect(await request(two, 'request twins', requestId)).toEqual(first);
    expect(await admin.rows(`select * from leasehold.queue_stats('request twins')`)).toMatchObject([
      { ready: '2', leased: '3' },
    ]);
  });

  test('waits for its twin also when that takes the last job (G5)', async () => {
    const requestId = '00000000-0000-4000-8000-0000000000a2';
    await fill('request last', 1);
    let first: Row[] = [];
    const second = await inOrder(
      async () => {
        first = await request(one, 'request last', requestId);
      },
      () => request(two, 'request last', requestId),
    );
    expect(first).toHaveLength(1);
    expect(second).toEqual(first);
    expect(await request(one, 'request last', requestId)).toEqual(first);
  });

  test('waits for a twin that rolls back, and leases by itself', async () => {
    const requestId = '00000000-0000-4000-8000-0000000000a3';
    await fill('request rolled back', 1);
    let first: Row[] = [];
    const second = await inOrder(
      async () => {
        first = await request(one, 'request rolled back', requestId);
      },
      () => request(two, 'request rolled back', requestId),
      'rollback',
    );
    expect(second).toMatchObject([{ job_id: first[0]?.job_id, attempt: '1' }]);
    expect(second[0]?.token).not.toBe(first[0]?.token);
    expect(await two.outcome(HEARTBEAT, [first[0]?.job_id, first[0]?.token])).toBe('LH001');
  });
});

describe('lease_jobs of many', () => {
  const fill = async (queue: string, count: number) => {
    await admin.rows('select leasehold.create_queue($1)', [queue]);
    return admin.column(
      `select unnest(leasehold.enqueue_many($1, jsonb_agg(jsonb_build_object('payload', n))))
       from generate_series(1, $2::integer) as n`,
      [queue, count],
    );
  };
  const take = (session: Session, queue: string, limit: number) =>
    session.column('select job_id from leasehold.lease_jobs(array[$1], gen_random_uuid(), $2)', [
      queue,
      limit,
    ]);

  test('passes over what others hold, in the order of the line', async () => {
    await mayNotWait();
    for (let round = 0; round < 20; round++) {
      const jobs = await fill(`held ${round}`, 200);
      const found = await meanwhile(
        () => take(one, `held ${round}`, 60),
        () => take(two, `held ${round}`, 100),
      );
      expect(found).toEqual(jobs.slice(60, 160));
    }
  });

  test('finds what a lease that was rolled back has left, at the latest where there is nothing else', async () => {
    for (let round = 0; round < 20; round++) {
      const queue = `left ${round}`;
      const jobs = await fill(queue, 160);
      await one.begin();
      await take(one, queue, 60);
      await one.rollback();

      const first = await take(two, queue, 100);
      const rest = await take(two, queue, 100);
      expect([jobs.slice(0, 100), jobs.slice(60)]).toContainEqual(first);
      expect([...first, ...rest].toSorted(byNumber)).toEqual(jobs);
    }
  });

  test('takes the oldest first also of what was touched, where few are asked for', async () => {
    const jobs = await fill('touched', 60);
    await one.begin();
    await take(one, 'touched', 60);
    await one.rollback();
    expect(await take(two, 'touched', 49)).toEqual(jobs.slice(0, 49));
  });
});

const byNumber = (a: string | null, b: string | null) => Number(a) - Number(b);

describe('complete against heartbeat', () => {
  test('complete waits for a heartbeat of its own lease, and completes', async () => {
    const held = await leased(admin);
    const status = await inOrder(
      () =>
        one.value(
          `select status from leasehold.heartbeat($1, $2, '1 hour', '{"at": 1}')`,
          proof(held),
        ),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('completed');
    expect(await admin.value('select checkpoint from leasehold.job($1)', [held.jobId])).toBe(
      '{"at": 1}',
    );
  });

  test('complete waits for heartbeat_many, and completes', async () => {
    const held = await leased(admin);
    const status = await inOrder(
      () =>
        one.value(
          'select status from leasehold.heartbeat_many(array[$1::bigint], array[$2::uuid])',
          proof(held),
        ),
      () => two.outcome(COMPLETE, proof(held)),
    );
    expect(status).toBe('completed');
  });

  test('a batch of completions waits for no row, and settles all others', async () => {
    const all = [await leased(admin), await leased(admin), await leased(admin)] as const;
    const complete = () =>
      two.column('select status from leasehold.complete_many($1, $2)', [ids(all), tokens(all)]);
    await mayNotWait();
    const statuses = await meanwhile(() => one.value(HEARTBEAT, proof(all[1])), complete);
    expect(statuses).toEqual(['completed', 'busy', 'completed']);
    expect(await complete()).toEqual(['already_completed', 'completed', 'already_completed']);
  });

  test('heartbeat waits for a complete that rolls back, and renews', async () => {
    const held = await leased(admin);
    const status = await inOrder(
      () => one.value(COMPLETE, proof(held)),
      () => two.outcome(HEARTBEAT, proof(held)),
      'rollback',
    );
    expect(status).toBe('ok');
  });

  test('complete waits for the same complete, and answers that it is done (G5)', async () => {
    const held = await leased(admin);
    const status = await inOrder(
      () => one.value(`select status from leasehold.complete($1, $2, '"first"')`, proof(held)),
      () => two.outcome(`select status from leasehold.complete($1, $2, '"second"')`, proof(held)),
    );
    expect(status).toBe('already_completed');
    expect(await admin.value('select result from leasehold.job($1)', [held.jobId])).toBe('"first"');
  });
});

describe('two batches over the same jobs in opposite order', () => {
  const complete = (session: Session, held: readonly Held[]) =>
    session.column('select status from leasehold.complete_many($1, $2)', [ids(held), tokens(held)]);
  const several = async (count: number) => {
    const first = await leased(admin);
    const all = [first];
    while (all.length < count) all.push(await another(admin, first.queue));
    return all;
  };

  /** Both meet rows that a third one holds, and go on; then both, at once, rows that nobody holds. */
  async function crossing<T>(
    lock: string,
    held: readonly Held[],
    call: (session: Session, held: readonly Held[]) => Promise<T>,
  ) {
    const both = () => Promise.all([call(one, held), call(two, held.toReversed())]);
    await admin.begin();
    await admin.rows(lock, [ids(held)]);
    const meanwhile = await both();
    await admin.rollback();
    // Each may meet the other too.
    await both();
    return { meanwhile, after: await both() };
  }
  let three: Session;
  beforeEach(async () => {
    three ??= await Session.open(url);
  });

  test('complete each job once and do not deadlock (K1)', async () => {
    const held = await several(2);
    const outcomes = await crossing(
      'select from leasehold.lease where job_id = any ($1) for update',
      held,
      complete,
    );
    expect(outcomes.meanwhile.flat()).toEqual(Array(4).fill('busy'));
    expect(outcomes.after.flat()).toEqual(Array(4).fill('already_completed'));
  });

  test('do not deadlock over leases that were reaped (K1)', async () => {
    const held = await several(2);
    await expire(admin, held);
    await admin.rows(REAP);
    const outcomes = await crossing(
      'select from leasehold.ready where job_id = any ($1) for update',
      held,
      complete,
    );
    expect(outcomes.meanwhile.flat()).toEqual(Array(4).fill('busy'));
    expect(outcomes.after.flat()).toEqual(Array(4).fill('already_completed'));
  });

  test('do not deadlock over leases that are lost (K1)', async () => {
    const held = await several(2);
    await complete(admin, held);
    const outcomes = await crossing(
      'select from leasehold.job where job_id = any ($1) for update',
      held,
      complete,
    );
    expect(Object.values(outcomes).flat(2)).toEqual(Array(8).fill('already_completed'));
  });

  test('renew, fail and complete many without a deadlock', async () => {
    for (let round = 0; round < 10; round++) {
      const held = await several(20);
      await expire(admin, held);
      if (round % 2 === 0) await admin.rows(REAP);
      const [, ...settled] = await Promise.all([
        three.column('select status from leasehold.heartbeat_many($1, $2)', [
          ids(held),
          tokens(held),
        ]),
        complete(one, held),
        two.column('select status from leasehold.fail_many($1, $2)', [
          ids(held.toReversed()),
          tokens(held.toReversed()),
        ]),
      ]);
      // What was busy for both is settled by the one that asks again.
      settled.push(await complete(one, held));
      const done = settled.flat().filter((status) => status === 'completed' || status === 'failed');
      expect(done).toHaveLength(20);
    }
  });
});

describe('maintenance, several at once', () => {
  test('two reapers take each expired lease once', async () => {
    const first = await leased(admin);
    const all = [first];
    while (all.length < 50) all.push(await another(admin, first.queue));
    await expire(admin, all);
    await mayNotWait();
    const second = await meanwhile(
      () => one.value('select leasehold.reap_expired(20)'),
      () => two.value(REAP),
    );
    expect(second).toBe('30');
    expect(await two.value(REAP)).toBe('0');
    expect(
      await admin.rows(
        'select losses, count(*) from leasehold.ready where queue_id = (select queue_id from leasehold.queue where name = $1) group by 1',
        [first.queue],
      ),
    ).toEqual([{ losses: '1', count: '50' }]);
  });

  test('S07 S16 a reaper whose transaction stays open does not keep the others from reaping', async () => {
    await admin.rows(
      `update leasehold.upkeep set last_run_at = leasehold._now() - interval '30 minutes' where task = 'look'`,
    );
    await one.begin();
    await one.rows(REAP);
    const held = await leased(admin);
    await admin.rows(
      `update leasehold.lease set expires_at = leasehold._now() - interval '10 minutes' where job_id = $1`,
      [held.jobId],
    );
    await mayNotWait();
    // It expired while nobody looked, as far as anybody can know, so it is left alone for one length.
    expect(await two.value(REAP)).toBe('0');
    expect(await two.value(REAP)).toBe('0');
    expect(await admin.value('select count(*) from leasehold.outage')).toBe('1');
    await admin.rows(`update leasehold.outage set ended_at = ended_at - interval '2 minutes'`);
    const later = await another(admin, held.queue);
    await admin.rows(
      `update leasehold.lease set expires_at = leasehold._now() - interval '1 minute' where job_id = $1`,
      [later.jobId],
    );
    const reapedNow = await two.value(REAP);
    await one.commit();
    await admin.rows('delete from leasehold.outage');
    expect(reapedNow).toBe('1');
    expect(await job(held)).toMatchObject({ state: 'ready' });
    expect(await job(later)).toMatchObject({ state: 'leased' });
  });

  test('S15 what is charged while its worker comes back is taken back the next time', async () => {
    const register = (session: Session) =>
      session.value(`select leasehold.register_worker($1, '{}', p_secret => $1)`, [
        '5eed0000-0000-4000-8000-000000000015',
      ]);
    await register(admin);
    const held = await leased(admin);
    await admin.rows(
      `update leasehold.lease
       set worker_id = $2, expires_at = leasehold._now() - interval '1 second'
       where job_id = $1`,
      [held.jobId, '5eed0000-0000-4000-8000-000000000015'],
    );
    await admin.rows(
      `update leasehold.worker set heartbeat_at = heartbeat_at - interval '1 minute' where worker_id = $1`,
      ['5eed0000-0000-4000-8000-000000000015'],
    );
    // It has judged the lease, and has yet to write that down.
    await one.begin();
    await one.rows('lock table leasehold.attempt in share row exclusive mode');
    const reaping = two.value(REAP);
    await admin.untilBlocked(two);
    await register(admin);
    await one.commit();
    expect(await reaping).toBe('1');
    await register(admin);
    expect(await job(held)).toMatchObject({ state: 'ready', losses: '0' });
  });

  test('two promoters move each due job once', async () => {
    await admin.rows(`select leasehold.create_queue('promote')`);
    await admin.rows(
      `select leasehold.enqueue('promote', '1', p_delay => '1 hour') from generate_series(1, 10)`,
    );
    await admin.rows(
      `update leasehold.scheduled set run_at = '2000-01-01'
       where queue_id = (select queue_id from leasehold.queue where name = 'promote')`,
    );
    await mayNotWait();
    const second = await meanwhile(
      () => one.value('select leasehold.promote_due(4)'),
      () => two.value('select leasehold.promote_due()'),
    );
    expect(second).toBe('6');
    expect(await admin.rows(`select * from leasehold.queue_stats('promote')`)).toMatchObject([
      { ready: '10', scheduled: '0' },
    ]);
  });

  test('two redrives put a dead job back once', async () => {
    const held = await leased(admin);
    await admin.rows('select leasehold.dead_letter($1, $2)', proof(held));
    const redrive = 'select leasehold.redrive(array[$1::bigint])';
    await mayNotWait();
    const second = await meanwhile(
      () => one.column(redrive, [held.jobId]),
      () => two.column(redrive, [held.jobId]),
    );
    expect(second).toEqual([]);
    expect(await job(held)).toMatchObject({ state: 'ready', generation: '2' });
  });

  test('two ticks at once do the work of one', async () => {
    await admin.rows(`update leasehold.upkeep set due_at = '-infinity'`);
    const held = await expired(admin);
    await mayNotWait();
    const second = await meanwhile(
      () => one.value('select reaped from leasehold.tick()'),
      () => two.value('select reaped from leasehold.tick()'),
    );
    expect(second).toBe('0');
    expect(await job(held)).toMatchObject({ state: 'ready', losses: '1' });
  });

  test("reap_expired does not wait for a late complete in somebody's transaction", async () => {
    const held = await reaped(admin);
    await admin.rows(`update leasehold.ready set live_until = '2000-01-01' where job_id = $1`, [
      held.jobId,
    ]);
    const other = await expired(admin);
    await mayNotWait();
    const reapedNow = await meanwhile(
      () => one.value(COMPLETE, proof(held)),
      () => two.outcome(REAP),
    );
    expect(reapedNow).toBe('1');
    expect(await stateOf(other)).toBe('ready');
    expect(await stateOf(held)).toBe('completed');
  });

  test("tick does not fail over a repeated complete in somebody's transaction", async () => {
    const held = await leased(admin);
    await admin.value(COMPLETE, proof(held));
    const other = await expired(admin);
    await admin.rows(`update leasehold.finished set keep_until = '2000-01-01' where job_id = $1`, [
      held.jobId,
    ]);
    await admin.rows(`update leasehold.upkeep set due_at = '-infinity', done_until = '-infinity'`);
    const ticked = await meanwhile(
      () => one.value(COMPLETE, proof(held)),
      () => two.outcome('select reaped from leasehold.tick()'),
    );
    expect(ticked).toBe('1');
    expect(await stateOf(other)).toBe('ready');
    expect(await admin.outcome(STATE, [held.jobId])).toBe('LH002');
  });
});

describe('drop_queue against enqueue', () => {
  test('a job that slips in is cancelled by prune, not lost (G1)', async () => {
    await admin.rows(`select leasehold.create_queue('slip')`);
    await meanwhile(
      () => one.value(`select leasehold.enqueue('slip', '1')`),
      () => two.rows(`select leasehold.drop_queue('slip')`),
    );
    const slipped = await admin.value(
      `select job_id from leasehold.job join leasehold.queue using (queue_id) where name = 'slip'`,
    );
    await two.rows('select leasehold.prune()');
    expect(await admin.rows('select state, reason from leasehold.job($1)', [slipped])).toEqual([
      { state: 'cancelled', reason: 'queue_dropped' },
    ]);
  });
});

describe('twenty lessees at once', () => {
  test('lease no job twice, leave none, and never get more than they asked for (G2)', async () => {
    const lessees = await Promise.all(Array.from({ length: 20 }, () => Session.open(url)));
    await admin.rows(`select leasehold.create_queue('crowd')`);
    await admin.rows(
      `select leasehold.enqueue_many('crowd', (
         select jsonb_agg(jsonb_build_object('payload', 1, 'priority', n % 10)) from generate_series(1, 2000) as n
       ))`,
    );
    const seen: string[] = [];
    await Promise.all(
      lessees.map(async (lessee) => {
        for (;;) {
          const taken = await lessee.rows(
            `select job_id, token from leasehold.lease_jobs(array['crowd'], gen_random_uuid(), 7)`,
          );
          expect(taken.length).toBeLessThanOrEqual(7);
          if (taken.length === 0) return;
          seen.push(...taken.map(({ job_id }) => String(job_id)));
          await lessee.column('select status from leasehold.complete_many($1, $2)', [
            taken.map(({ job_id }) => job_id),
            taken.map(({ token }) => token),
          ]);
        }
      }),
    );
    expect(seen).toHaveLength(2000);
    expect(new Set(seen).size).toBe(2000);
    expect(await admin.rows(`select * from leasehold.queue_stats('crowd')`)).toMatchObject([
      { ready: '0', leased: '0', completed: '2000' },
    ]);
  });
});
