import { describe, expect, test } from 'vitest';
import { createDatabase } from './support/database.ts';
import { Session } from './support/sessions.ts';

/** The planner's methods. Switched off, they are avoided wherever there is another way. */
const SCANS_AND_JOINS = [
  'seqscan',
  'indexscan',
  'indexonlyscan',
  'bitmapscan',
  'hashjoin',
  'mergejoin',
  'nestloop',
];
const HELPERS = ['material', 'sort', 'memoize', 'hashagg'];
const METHODS = [...SCANS_AND_JOINS, ...HELPERS];

const subsets = (methods: readonly string[]) =>
  Array.from({ length: 2 ** methods.length }, (_, bits) =>
    methods.filter((_method, n) => bits & (1 << n)),
  );

/** The least a worker does: leases some of a backlog, renews and completes them. */
const WORK = `
create function public.work() returns text[] language plpgsql as $$
declare
  v_held leasehold.leased_job[];
  v_stale uuid := gen_random_uuid();
begin
  v_held := array(
    select leased from leasehold.lease_jobs(array['backlog'], gen_random_uuid(), 3) as leased
  );
  return array[
    (select string_agg((leased).payload::text, ' ') from unnest(v_held) as leased),
    (select string_agg(answer.status, ' ' order by ordinality) from leasehold.heartbeat_many(
      array[v_held[3].job_id, v_held[2].job_id, v_held[1].job_id],
      array[v_held[3].token, v_stale, v_held[1].token]
    ) with ordinality as answer),
    (select string_agg(settlement.status, ' ' order by ordinality) from leasehold.complete_many(
      array[v_held[2].job_id, v_held[1].job_id, v_held[3].job_id],
      array[v_held[2].token, v_held[1].token, v_stale]
    ) with ordinality as settlement)
  ];
end;
$$`;

/**
 * Does one of everything on a small backlog, and says what it found. A plan may only change how
 * long that takes.
 */
const EXERCISE = `
create function public.exercise() returns text[] language plpgsql as $$
declare
  v_held leasehold.leased_job[];
  v_found text[];
  v_stale uuid := gen_random_uuid();
begin
  perform leasehold.enqueue('plans', to_jsonb(n), n % 3 + 4) from generate_series(1, 12) as n;
  perform leasehold.enqueue('beside', to_jsonb(n), 0) from generate_series(1, 3) as n;
  perform leasehold.enqueue('plans', '"mortal"', 0, p_time_to_live => '1 second');
  update leasehold.ready set live_until = '2000-01-01' where live_until is not null;

  v_held := array(select leased from leasehold.lease_jobs(array['plans'], gen_random_uuid(), 5) as leased);
  v_found := v_found || ('leased ' || (
    select string_agg((leased).payload::text, ' ') from unnest(v_held) as leased
  ));

  v_found := v_found || ('beaten ' || (
    select string_agg(answer.status, ' ' order by ordinality) from leasehold.heartbeat_many(
      array[v_held[2].job_id, v_held[1].job_id, v_held[3].job_id, v_held[2].job_id],
      array[v_held[2].token, v_held[1].token, v_stale, v_held[2].token],
      null, array['1', '2', '3', null]::jsonb[]
    ) with ordinality as answer
  ));

  update leasehold.lease set expires_at = '2000-01-01' where job_id in (v_held[2].job_id, v_held[5].job_id);
  v_found := v_found || ('reaped ' || leasehold.reap_expired());
  v_found := v_found || ('revived ' || (leasehold.heartbeat(v_held[5].job_id, v_held[5].token)).status);

  v_found := v_found || ('completed ' || (
    select string_agg(settlement.status || case when settlement.late then '!' else '' end, ' ' order by ordinality)
    from leasehold.complete_many(
      array[v_held[2].job_id, v_held[1].job_id, v_held[3].job_id, v_held[1].job_id, -1],
      array[v_held[2].token, v_held[1].token, v_stale, v_held[1].token, v_stale],
      array['"b"', '"a"', '"stale"', '"again"', null]::jsonb[]
    ) with ordinality as settlement
  ));
  v_found := v_found || ('failed ' || (
    select string_agg(settlement.status, ' ' order by ordinality) from leasehold.fail_many(
      array[v_held[3].job_id, v_held[4].job_id, v_held[3].job_id],
      array[v_held[3].token, v_held[4].token, v_held[3].token],
      array['x', 'y', 'z'], array['0', '1 hour', null]::interval[], array[true, true, true]
    ) with ordinality as settlement
  ));
  v_found := v_found || ('released ' || (leasehold.release(v_held[5].job_id, v_held[5].token)).status);
  v_found := v_found || ('cancelled ' || leasehold.cancel(v_held[5].job_id));
  v_found := v_found || ('deduplicated ' || (
    leasehold.enqueue('beside', '1', p_dedup_key => 'k') = leasehold.enqueue('beside', '2', p_dedup_key => 'k')
  ));
  v_found := v_found || ('purged ' || leasehold.purge_queue('beside', 2));
  v_found := v_found || ('stats ' || (
    select string_agg(stat::text, ' ') from leasehold.queue_stats() as stat where stat.queue in ('plans', 'beside')
  ));
  v_found := v_found || ('results ' || (
    select string_agg((job).result::text, ' ' order by (job).job_id) from leasehold.peek('plans', 'completed') as job
  ));
  return regexp_replace(v_found::text, '[0-9]+:[0-9:.]+', 'age', 'g')::text[];
end;
$$`;

describe('with planner methods switched off', async () => {
  const sessions = await Promise.all([prepare(), prepare()]);

  /** A database each, so that neither skips what the other has locked. */
  async function prepare(): Promise<Session> {
    const session = await Session.open(await createDatabase());
    // Methods switched off look dear to servers before 18, which would compile every such plan.
    await session.rows('set jit = off');
    await session.rows(WORK);
    await session.rows(EXERCISE);
    await session.rows(
      `select leasehold.create_queue('plans'), leasehold.create_queue('beside'),
         leasehold.create_queue('backlog')`,
    );
    await session.rows(
      `select leasehold.enqueue('backlog', to_jsonb(n), n % 2 + 4) from generate_series(1, 40) as n`,
    );
    return session;
  }

  /** Runs `sql` under each combination in a transaction of its own, planned anew, and undone. */
  async function under(
    combinations: readonly (readonly string[])[],
    sql: string,
    usual: readonly string[],
  ): Promise<void> {
    const left = [...combinations];
    await Promise.all(
      sessions.map(async (session) => {
        for (let off = left.pop(); off !== undefined; off = left.pop()) {
          const settings = off.map((method) => `set local enable_${method} = off`).join(';');
          await session.rows(`begin; discard plans; ${settings}`);
          const found = await session.column(sql);
          await session.rollback();
          expect([...off, ...found]).toEqual([...off, ...usual]);
        }
      }),
    );
  }

  test('in every combination of scans and joins jobs are leased, renewed and completed right, and no more than the limit (P1, P2)', async () => {
    const helpers = subsets(HELPERS).filter(
      ({ length }) => length < 2 || length === HELPERS.length,
    );
    const every = subsets(SCANS_AND_JOINS).flatMap((off) =>
      helpers.map((more) => [...off, ...more]),
    );
    await under(every, 'select unnest(public.work())', [
      '2 4 6',
      'ok lost ok',
      'completed completed lease_lost',
    ]);
  });

  test('one, two, all, or all but one or two at a time, everything else comes out the same', async () => {
    const few = subsets(METHODS).filter(
      ({ length }) => length <= 2 || length >= METHODS.length - 2,
    );
    await under(few, 'select unnest(public.exercise())', [
      'leased 3 6 9 12 1',
      'beaten ok ok lost ok',
      'reaped 3',
      'revived revived',
      'completed completed! completed lease_lost already_completed job_not_found',
      'failed failed failed already_failed',
      'released released',
      'cancelled cancelled',
      'deduplicated true',
      'purged 2',
      'stats (beside,f,0,2,0,0,0,0,0,2,age,0) (plans,f,1,8,0,0,2,1,1,0,age,0)',
      'results "a" "b"',
    ]);
  });
});

/** Statistics that lead a planner astray: taken when the tables were empty, or full and emptied since. */
const STATISTICS = {
  'that say the tables are empty while they are full': async (session: Session) => {
    await analyze(session);
    await fill(session, 2_000);
  },
  'that say the tables are full while they are nearly empty': async (session: Session) => {
    await fill(session, 2_000);
    await analyze(session);
    for (const table of ['ready', 'scheduled', 'lease', 'job', 'finished', 'attempt', 'dedup']) {
      await session.rows(`truncate leasehold.${table}`);
    }
    await fill(session, 10);
  },
  'that are right': async (session: Session) => {
    await fill(session, 2_000);
    await analyze(session);
  },
};

const analyze = (session: Session) => session.rows('vacuum analyze');

async function fill(session: Session, count: number): Promise<void> {
  await session.rows(
    `select leasehold.create_queue('full'), leasehold.create_queue('kept'), leasehold.create_queue('later')`,
  );
  for (const [queue, rest] of [
    ['full', '{}'],
    ['full', `{"dedup_window": "0"}`],
    ['kept', '{}'],
    ['later', `{"delay": "1 day"}`],
  ]) {
    await session.rows(
      `select leasehold.enqueue_many($1, (
         select jsonb_agg(jsonb_build_object(
           'payload', n,
           'dedup_key', case when $3::jsonb ? 'dedup_window' then n end
         ) || $3::jsonb)
         from generate_series(1, $2::integer) as n
       ))`,
      [queue, count, rest],
    );
  }
  await session.rows(
    `with leased as (
       select * from leasehold.lease_jobs(array['kept'], gen_random_uuid(), $1)
     )
     select count(*)
     from (
       select array_agg(job_id) as ids, array_agg(token) as tokens from leased where job_id % 2 = 0
     ) as even
     cross join lateral leasehold.complete_many(ids, tokens)`,
    [count],
  );
  await session.rows(`update leasehold.lease set expires_at = '2000-01-01' where job_id % 4 = 1`);
  await session.rows('select leasehold.reap_expired(10000)');
}

/** Calls that look at a handful of jobs, and so may read a handful of rows, whatever there is. */
const CALLS: Readonly<Record<string, string>> = {
  enqueue: `select leasehold.enqueue('full', '1')`,
  'enqueue with a taken dedup key': `select leasehold.enqueue('full', '1', p_dedup_key => '7', p_dedup_window => '0')`,
  lease_jobs: `select leasehold.lease_jobs(array['full'], gen_random_uuid(), 5)`,
  heartbeat: `select leasehold.heartbeat(ids[1], tokens[1], null, '1') from held`,
  'heartbeat of a reaped lease': `select leasehold.heartbeat(ids[1], tokens[1]) from reaped`,
  heartbeat_many: `select leasehold.heartbeat_many(ids, tokens) from held`,
  'heartbeat_many with checkpoints': `select leasehold.heartbeat_many(ids, tokens, null, array_fill('1'::jsonb, array[cardinality(ids)])) from held`,
  'heartbeat_many of reaped leases': `select leasehold.heartbeat_many(ids, tokens) from reaped`,
  'heartbeat_many of lost leases': `select leasehold.heartbeat_many(ids, array_fill(gen_random_uuid(), array[cardinality(ids)])) from held`,
  complete_many: `select leasehold.complete_many(ids, tokens) from held`,
  'complete_many of reaped leases': `select leasehold.complete_many(ids, tokens) from reaped`,
  'complete_many of lost leases': `select leasehold.complete_many(ids, array_fill(gen_random_uuid(), array[cardinality(ids)])) from held`,
  'complete_many again': `select leasehold.complete_many(ids, tokens) from ended`,
  fail_many: `select leasehold.fail_many(ids, tokens) from held`,
  'fail_many of reaped leases': `select leasehold.fail_many(ids, tokens) from reaped`,
  release: `select leasehold.release(ids[1], tokens[1]) from held`,
  dead_letter: `select leasehold.dead_letter(ids[1], tokens[1]) from held`,
  assert_lease: `select leasehold.assert_lease(ids[1], tokens[1]) from held`,
  'cancel of a leased job': `select leasehold.cancel(ids[1]) from held`,
  'cancel of a ready job': `select leasehold.cancel(ids[1]) from reaped`,
  job: `select leasehold.job(ids[1]) from held`,
  peek: `select leasehold.peek('full', 'ready', 5)`,
  'promote_due when nothing is due': `select leasehold.promote_due()`,
};

describe.each(Object.entries(STATISTICS))('with statistics %s', async (_, prepare) => {
  const session = await Session.open(await createDatabase());
  await prepare(session);
  for (const [name, where] of [
    ['held', `select job_id, token from leasehold.lease where job_id % 4 = 3`],
    ['reaped', `select job_id, token from leasehold.ready where token is not null`],
    ['ended', `select job_id, token from leasehold.finished where token is not null`],
  ]) {
    await session.rows(
      `create table public.${name} as
       select array_agg(job_id) as ids, array_agg(token) as tokens from (${where} limit 5) as few`,
    );
  }

  test.each(Object.entries(CALLS))('%s reads a handful of rows', async (_call, sql) => {
    const read = () =>
      session.value(
        `select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))
         from pg_stat_xact_user_tables where schemaname = 'leasehold' and relname <> 'queue'`,
      );
    await session.begin();
    try {
      const before = Number(await read());
      expect(await session.rows(sql)).not.toEqual([]);
      expect(Number(await read()) - before).toBeLessThan(250);
    } finally {
      await session.rollback();
    }
  });
});

describe('with statistics that call the tables empty', () => {
  test('lease_jobs still reads no more jobs than it leases', async () => {
    const session = await Session.open(await createDatabase());
    const enqueue = (count: number) =>
      session.rows(
        `select leasehold.enqueue_many('line', jsonb_agg(jsonb_build_object('payload', n)))
         from generate_series(1, $1::integer) as n`,
        [count],
      );
    const work = () =>
      session.rows(
        `select count(settled.*) from (
           select array_agg(job_id) as job_ids, array_agg(token) as tokens
           from leasehold.lease_jobs(array['line'], gen_random_uuid(), 500)
         ) as leased
         cross join lateral leasehold.complete_many(leased.job_ids, leased.tokens) as settled`,
      );
    const read = () =>
      session.value(
        `select idx_tup_fetch from pg_stat_xact_user_tables where relid = 'leasehold.job'::regclass`,
      );

    await session.rows(`select leasehold.create_queue('line', p_keep_completed => '0')`);
    await enqueue(5000);
    for (let turn = 0; turn < 10; turn++) await work();
    await session.rows('vacuum (truncate false) leasehold.job');
    await session.rows('analyze leasehold.job');
    // The plan is made now, and kept.
    await enqueue(500);
    await work();
    await enqueue(5000);

    await session.begin();
    const before = await read();
    await session.rows(`select from leasehold.lease_jobs(array['line'], gen_random_uuid(), 500)`);
    expect(Number(await read()) - Number(before)).toBe(500);
    await session.rollback();
  });

  test('lease_jobs reads no more checkpoints than it answers', async () => {
    const session = await Session.open(await createDatabase());
    await session.rows(`select leasehold.create_queue('line')`);
    await session.rows('analyze leasehold.checkpoint');
    const enqueue = () =>
      session.rows(
        `select leasehold.enqueue_many('line', jsonb_agg(jsonb_build_object('payload', n)))
         from generate_series(1, 400) as n`,
      );
    const lease = (limit: number) =>
      session.rows(
        `select leased.* from leasehold.lease_jobs(array['line'], gen_random_uuid(), $1) as leased`,
        [limit],
      );
    // The plan is made now, and kept.
    await enqueue();
    await lease(200);
    await session.rows(
      `select leasehold.heartbeat_many(
         array_agg(job_id), array_agg(token), null, array_agg(to_jsonb(job_id))
       ) from leasehold.lease`,
    );
    await session.rows(
      `select leasehold.release(job_id, token) from leasehold.lease order by job_id limit 50`,
    );

    await session.begin();
    const read = () =>
      session.value(
        `select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables
         where relid = 'leasehold.checkpoint'::regclass`,
      );
    const before = Number(await read());
    const leased = await lease(200);
    expect(leased.filter(({ checkpoint }) => checkpoint !== null)).toHaveLength(50);
    expect(Number(await read()) - before).toBe(50);
    await session.rollback();
  });
});
