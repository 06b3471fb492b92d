-- complete_many: a batch of endings, each judged alone, answered in the order it was given.
begin;
select plan(39);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.complete(p_names text[], p_results jsonb[] default null)
  returns text[]
  language sql
as $$
  select array_agg(settlement.status order by ordinality)
  from leasehold.complete_many(
    array(select leasehold_test.job_id(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    array(select leasehold_test.token(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    p_results
  ) with ordinality as settlement
$$;

-- The ordinary case.
select leasehold_test.start(name) from unnest(array['a', 'b', 'c']) as name;
delete from leasehold_test.woken;
select results_eq(
  $$select job_id, status, late, retry_in from leasehold.complete_many(
    array[leasehold_test.job_id('c'), leasehold_test.job_id('a'), leasehold_test.job_id('b')],
    array[leasehold_test.token('c'), leasehold_test.token('a'), leasehold_test.token('b')],
    array['3', null, '2']::jsonb[]
  )$$,
  $$values
    (leasehold_test.job_id('c'), 'completed', false, null::interval),
    (leasehold_test.job_id('a'), 'completed', false, null),
    (leasehold_test.job_id('b'), 'completed', false, null)$$,
  'complete_many answers in the order of the batch'
);
select is(
  (select array_agg((leasehold.job(leasehold_test.job_id(name))).result order by name)
    from unnest(array['a', 'b', 'c']) as name),
  array[null, '2', '3']::jsonb[],
  'each job gets its own result'
);
select is(leasehold_test.woken(), '{}', 'complete_many wakes nobody');

-- A repeat (G5).
create temp table before on commit drop as select leasehold_test.state();
select is(
  pg_temp.complete(array['b', 'c', 'a'], array['9', '9', '9']::jsonb[]),
  array['already_completed', 'already_completed', 'already_completed'],
  'complete_many again answers already_completed (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat of complete_many changes nothing (G5)');
drop table before;

-- Every fate in one batch.
select leasehold.create_queue('cancelled');
select leasehold_test.start('repeated');
select leasehold.complete(leasehold_test.job_id('repeated'), leasehold_test.token('repeated'));
select leasehold_test.start('cancelled');
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select leasehold.fail(leasehold_test.job_id('cancelled'), leasehold_test.token('cancelled'));
select leasehold_test.start('dead');
select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
select leasehold_test.start('released');
select leasehold.release(leasehold_test.job_id('released'), leasehold_test.token('released'));
select leasehold_test.start('reaped');
select leasehold_test.lose('lost');
select leasehold_test.start('expired');
select leasehold_test.lapse();
select leasehold_test.start('current');
insert into leasehold_test.held values
  ('missing', 9223372036854775807, gen_random_uuid(), gen_random_uuid());
select is(
  array(
    select (settlement.status, settlement.late)::text
    from unnest(array[
      'lost', 'current', 'missing', 'reaped', 'dead', 'repeated', 'expired', 'cancelled', 'released'
    ]) with ordinality as item (name, n)
    join lateral (select leasehold_test.job_id(name) as id) as job on true
    join leasehold.complete_many(
      array(select leasehold_test.job_id(x) from unnest(array['lost', 'current', 'missing', 'reaped',
        'dead', 'repeated', 'expired', 'cancelled', 'released']) as x),
      array(select leasehold_test.token(x) from unnest(array['lost', 'current', 'missing', 'reaped',
        'dead', 'repeated', 'expired', 'cancelled', 'released']) as x)
    ) with ordinality as settlement on settlement.ordinality = item.n and settlement.job_id = job.id
    order by n
  ),
  array[
    '(lease_lost,f)', '(completed,f)', '(job_not_found,f)', '(completed,t)', '(job_finished,f)',
    '(already_completed,f)', '(completed,t)', '(job_cancelled,f)', '(lease_lost,f)'
  ],
  'complete_many judges each item alone: stale, current and late tokens in one batch (G3, G4)'
);
select is(
  (select array_agg(leasehold_test.state_of(name) order by name)
    from unnest(array['lost', 'current', 'reaped', 'dead', 'expired', 'cancelled', 'released']) as name),
  array['cancelled', 'completed', 'dead', 'completed', 'leased', 'completed', 'ready'],
  'only the items that were answered completed have changed'
);

-- Nothing but stale tokens: not a byte changes.
create temp table before on commit drop as select leasehold_test.state();
select is(
  pg_temp.complete(array['lost', 'missing', 'released', 'dead', 'cancelled']),
  array['lease_lost', 'job_not_found', 'lease_lost', 'job_finished', 'job_cancelled'],
  'complete_many of stale tokens alone settles nothing'
);
select is(leasehold_test.state(), (table before), 'complete_many of stale tokens changes no row (G3)');
drop table before;

-- Swapped tokens.
select leasehold_test.start('left');
select leasehold_test.start('right');
create temp table before on commit drop as select leasehold_test.state();
select is(
  array(select status from leasehold.complete_many(
    array[leasehold_test.job_id('left'), leasehold_test.job_id('right')],
    array[leasehold_test.token('right'), leasehold_test.token('left')]
  )),
  array['lease_lost', 'lease_lost'],
  'complete_many refuses two tokens that are swapped (G3)'
);
select is(leasehold_test.state(), (table before), 'swapped tokens change no row (G3)');
drop table before;
select is(
  array(select status from leasehold.complete_many(
    array[leasehold_test.job_id('left'), leasehold_test.job_id('left'), leasehold_test.job_id('right')],
    array[leasehold_test.token('right'), leasehold_test.token('left'), gen_random_uuid()]
  )),
  array['lease_lost', 'completed', 'lease_lost'],
  'complete_many judges two tokens for one job apart'
);

-- Duplicates in one batch.
select leasehold_test.start('twice');
select is(
  pg_temp.complete(array['twice', 'right', 'twice'], array['1', '2', '3']::jsonb[]),
  array['completed', 'completed', 'already_completed'],
  'complete_many answers the second of two equal items already_completed (G5)'
);
select is(
  (leasehold.job(leasehold_test.job_id('twice'))).result, '1',
  'of two equal items in one batch the first result stays'
);
select leasehold_test.start(name) from unnest(array['odd', 'even']) as name;
create temp table often on commit drop as
select n, leasehold_test.job_id(name) as job_id, leasehold_test.token(name) as token
from generate_series(0, 499) as n
cross join lateral (select case n % 2 when 0 then 'even' else 'odd' end as name) as named;
select is(
  array(
    select status from leasehold.complete_many(
      array(select job_id from often order by n),
      array(select token from often order by n),
      array(select to_jsonb(n) from often order by n)
    )
  ),
  array['completed', 'completed'] || array_fill('already_completed'::text, array[498]),
  'complete_many completes jobs once that are named 250 times each'
);
select is(
  array[(leasehold.job(leasehold_test.job_id('even'))).result, (leasehold.job(leasehold_test.job_id('odd'))).result],
  array['0', '1']::jsonb[],
  'of 250 equal items in one batch the first result stays'
);
select leasehold_test.start('reaped twice');
select leasehold_test.reap();
select is(
  pg_temp.complete(array['reaped twice', 'reaped twice']),
  array['completed', 'already_completed'],
  'complete_many takes a reaped job back once that is named twice (G4)'
);

-- Brief: only what is not as it mostly is.
select leasehold_test.start(name) from unnest(array['short', 'shorter', 'tardy']) as name;
create function pg_temp.brief(p_names text[])
  returns setof leasehold.settlement
  language sql
as $$
  select leasehold.complete_many(
    array(select leasehold_test.job_id(name) from unnest(p_names) as name),
    array(select leasehold_test.token(name) from unnest(p_names) as name),
    p_brief => true
  )
$$;
select is_empty(
  $$select pg_temp.brief(array['short', 'shorter'])$$,
  'complete_many answers nothing in brief where every item was completed in time'
);
select is(
  (select array_agg((leasehold.job(leasehold_test.job_id(name))).state) from unnest(array['short', 'shorter']) as name),
  array['completed', 'completed'], 'and has completed them'
);
select is(
  (select array_agg(status) from pg_temp.brief(array['short', 'shorter'])),
  array['already_completed', 'already_completed'], 'a repeat in brief is answered in full (G5)'
);
select leasehold_test.lapse();
select is(
  (select array_agg((status, late)::text) from pg_temp.brief(array['tardy'])),
  array['(completed,t)'], 'a late item is answered in brief too (G4)'
);
select leasehold_test.start('next');
select is(
  (select array_agg(status) from pg_temp.brief(array['next', 'short'])),
  array['completed', 'already_completed'], 'one item that is not simply completed has all of them answered, in order'
);

-- A batch at its limit, some of which the queue keeps for no time.
select leasehold.create_queue('forgetful', p_keep_completed => '0');
select leasehold.create_queue('bulk');
select leasehold.enqueue_many('forgetful', (select jsonb_agg('{"payload": 1}'::jsonb) from generate_series(1, 5000)));
select leasehold.enqueue_many('bulk', (select jsonb_agg('{"payload": 1}'::jsonb) from generate_series(1, 5000)));
create temp table bulk on commit drop as
select leased.* from leasehold.lease_jobs(array['forgetful', 'bulk'], gen_random_uuid(), 10000) as leased;
select is(
  (select count(*)::integer from leasehold.complete_many(
    array(select job_id from bulk order by token), array(select token from bulk order by token)
  ) where status = 'completed'),
  10000,
  'complete_many completes 10000 jobs at once'
);
select is(
  (select array_agg((queue, leased, completed, pruned)::text order by queue)
    from leasehold.queue_stats() where queue in ('forgetful', 'bulk')),
  array['(bulk,0,5000,0)', '(forgetful,0,0,5000)'],
  'every job of the batch is counted where it went (G1)'
);

-- Bad arguments.
select leasehold_test.start('present');
create temp table before on commit drop as select leasehold_test.state();
select is_empty(
  $$select leasehold.complete_many('{}', '{}')$$, 'complete_many of nothing answers nothing'
);
select is_empty(
  $$select leasehold.complete_many('{}', '{}', '{}')$$,
  'complete_many of nothing with no results answers nothing'
);
select throws_ok(
  $$select leasehold.complete_many(null, '{}')$$, '22023', null, 'complete_many refuses null job ids'
);
select throws_ok(
  $$select leasehold.complete_many('{}', null)$$, '22023', null, 'complete_many refuses null tokens'
);
select throws_ok(
  $$select leasehold.complete_many(array[leasehold_test.job_id('present'), null],
    array[leasehold_test.token('present'), gen_random_uuid()])$$,
  '22023', null, 'complete_many refuses a null member of job ids'
);
select throws_ok(
  $$select leasehold.complete_many(array[leasehold_test.job_id('present'), 1],
    array[leasehold_test.token('present'), null])$$,
  '22023', null, 'complete_many refuses a null member of tokens'
);
select throws_ok(
  $$select leasehold.complete_many(array[leasehold_test.job_id('present'), 1],
    array[leasehold_test.token('present')])$$,
  '22023', null, 'complete_many refuses fewer tokens than job ids'
);
select throws_ok(
  $$select leasehold.complete_many(array[leasehold_test.job_id('present')],
    array[leasehold_test.token('present')], array['1', '2']::jsonb[])$$,
  '22023', null, 'complete_many refuses more results than job ids'
);
select throws_ok(
  $$select leasehold.complete_many(array[leasehold_test.job_id('present')],
    array[leasehold_test.token('present')], '{}')$$,
  '22023', null, 'complete_many refuses fewer results than job ids'
);
select throws_ok(
  $$select leasehold.complete_many(array[[leasehold_test.job_id('present')]],
    array[[leasehold_test.token('present')]])$$,
  '22023', null, 'complete_many refuses arrays of two dimensions'
);
select throws_ok(
  $$select leasehold.complete_many(array[leasehold_test.job_id('present')],
    array[leasehold_test.token('present')], array[['1']]::jsonb[])$$,
  '22023', null, 'complete_many refuses results of two dimensions'
);
select throws_ok(
  $$select leasehold.complete_many(array_fill(1::bigint, array[10001]),
    array_fill(gen_random_uuid(), array[10001]))$$,
  '22023', null, 'complete_many refuses more than 10000 items'
);
select throws_ok(
  $$select leasehold.complete_many(array[leasehold_test.job_id('present'), 1],
    array[leasehold_test.token('present'), gen_random_uuid()],
    array['1', to_jsonb(repeat('x', 1048575))])$$,
  'LH008', null, 'complete_many refuses a result over 1 MiB'
);
select throws_ok(
  $$set local transaction_read_only = on; select leasehold.complete_many('{}', '{}')$$,
  'LH007', null, 'complete_many refuses a read-only transaction'
);
select is(leasehold_test.state(), (table before), 'a batch that is refused changes no row');

select * from finish();
rollback;
