-- fail_many: a batch of failures, each judged alone, answered in the order it was given.
begin;
select plan(28);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.fail(
  p_names text[], p_errors text[] default null, p_retry_in interval[] default null, p_retryable boolean[] default null
)
  returns text[]
  language sql
as $$
  select array_agg((settlement.status, settlement.late, settlement.retry_in)::text order by ordinality)
  from leasehold.fail_many(
    array(select leasehold_test.job_id(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    array(select leasehold_test.token(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    p_errors, p_retry_in, p_retryable
  ) with ordinality as settlement
$$;

-- The ordinary case.
select leasehold_test.start(name) from unnest(array['a', 'b', 'c', 'd']) as name;
delete from leasehold_test.woken;
select is(
  pg_temp.fail(
    array['c', 'a', 'd', 'b'], array['cc', 'aa', null, 'bb'],
    array['3 seconds', '0', '4 seconds', null]::interval[], array[true, null, false, false]
  ),
  array['(failed,f,00:00:03)', '(failed,f,00:00:00)', '(dead,f,)', '(dead,f,)'],
  'fail_many judges each item alone and answers in the order of the batch'
);
select is(
  (select array_agg((job.state, job.failures, job.reason, job.history -> 0 ->> 'error')::text order by name)
    from unnest(array['a', 'b', 'c', 'd']) as name
    cross join lateral leasehold.job(leasehold_test.job_id(name)) as job),
  array[
    '(ready,1,,aa)', '(dead,1,not_retryable,bb)', '(scheduled,1,,cc)', '(dead,1,not_retryable,)'
  ],
  'each job gets its own error, delay and verdict'
);
select is(leasehold_test.woken(), '{}', 'fail_many wakes nobody');
create temp table before on commit drop as select leasehold_test.state();
select is(
  pg_temp.fail(array['a', 'b', 'c', 'd']),
  array['(already_failed,f,)', '(already_dead,f,)', '(already_failed,f,)', '(already_dead,f,)'],
  'fail_many again answers already_… (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat of fail_many changes nothing (G5)');
drop table before;
select leasehold_test.start('bare');
select ok(
  (pg_temp.fail(array['bare']))[1] ~ '^\(failed,f,00:00:0', 'fail_many with ids and tokens alone takes the queue''s backoff'
);

-- Every fate in one batch.
select leasehold_test.start('completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select leasehold_test.start('released');
select leasehold.release(leasehold_test.job_id('released'), leasehold_test.token('released'));
select leasehold_test.start('reaped');
select leasehold_test.lose('lost');
select leasehold_test.start('cancelling');
select leasehold.cancel(leasehold_test.job_id('cancelling'), 'enough');
select leasehold_test.start('expired');
select leasehold_test.lapse();
select leasehold.create_queue('spent', p_max_failures => 1);
select leasehold_test.start('spent');
insert into leasehold_test.held values
  ('missing', 9223372036854775807, gen_random_uuid(), gen_random_uuid());
select is(
  pg_temp.fail(
    array['lost', 'cancelling', 'missing', 'reaped', 'completed', 'expired', 'spent', 'released'],
    null, array_fill(interval '7 seconds', array[8])
  ),
  array[
    '(lease_lost,f,)', '(cancelled,t,)', '(job_not_found,f,)', '(failed,t,00:00:07)',
    '(already_completed,f,)', '(failed,t,00:00:07)', '(dead,f,)', '(already_released,f,)'
  ],
  'fail_many judges stale, current, late and cancelled items in one batch (G3, G4)'
);
select is(
  (select array_agg((job.state, job.failures, job.losses)::text order by name)
    from unnest(array['lost', 'cancelling', 'reaped', 'completed', 'expired', 'spent', 'released']) as name
    cross join lateral leasehold.job(leasehold_test.job_id(name)) as job),
  array[
    '(cancelled,0,0)', '(completed,0,0)', '(scheduled,1,0)', '(leased,0,1)', '(scheduled,1,0)', '(ready,0,0)', '(dead,1,0)'
  ],
  'only the items that were answered as ended have changed'
);

-- Nothing but stale tokens: not a byte changes.
create temp table before on commit drop as select leasehold_test.state();
select is(
  pg_temp.fail(array['lost', 'missing'], array['x', 'y']),
  array['(lease_lost,f,)', '(job_not_found,f,)'],
  'fail_many of stale tokens alone settles nothing'
);
select leasehold_test.start('left');
select leasehold_test.start('right');
drop table before;
create temp table before on commit drop as select leasehold_test.state();
select is(
  array(select status from leasehold.fail_many(
    array[leasehold_test.job_id('left'), leasehold_test.job_id('right')],
    array[leasehold_test.token('right'), leasehold_test.token('left')]
  )),
  array['lease_lost', 'lease_lost'],
  'fail_many refuses two tokens that are swapped (G3)'
);
select is(leasehold_test.state(), (table before), 'swapped tokens change no row (G3)');
drop table before;

-- Duplicates in one batch.
select leasehold_test.start('odd');
select leasehold_test.start('even');
create temp table often on commit drop as
select n, leasehold_test.job_id(name) as job_id, leasehold_test.token(name) as token
from generate_series(0, 499) as n
cross join lateral (select case n % 2 when 0 then 'even' else 'odd' end as name) as named;
select is(
  array(
    select status from leasehold.fail_many(
      array(select job_id from often order by n),
      array(select token from often order by n),
      array(select 'error ' || n from often order by n),
      array_fill(interval '1 hour', array[500])
    )
  ),
  array['failed', 'failed'] || array_fill('already_failed'::text, array[498]),
  'fail_many fails jobs once that are named 250 times each (G5)'
);
select is(
  (select array_agg((job.failures, job.history -> 0 ->> 'error')::text order by name)
    from unnest(array['even', 'odd']) as name
    cross join lateral leasehold.job(leasehold_test.job_id(name)) as job),
  array['(1,"error 0")', '(1,"error 1")'],
  'of 250 equal items in one batch the first error is kept, and one failure counted'
);

-- Bad arguments.
select leasehold_test.start('present');
create temp table before on commit drop as select leasehold_test.state();
select is_empty($$select leasehold.fail_many('{}', '{}')$$, 'fail_many of nothing answers nothing');
select throws_ok($$select leasehold.fail_many(null, '{}')$$, '22023', null, 'fail_many refuses null job ids');
select throws_ok($$select leasehold.fail_many('{}', null)$$, '22023', null, 'fail_many refuses null tokens');
select throws_ok(
  $$select leasehold.fail_many(array[leasehold_test.job_id('present'), null],
    array[leasehold_test.token('present'), gen_random_uuid()])$$,
  '22023', null, 'fail_many refuses a null member of job ids'
);
select throws_ok(
  $$select leasehold.fail_many(array[leasehold_test.job_id('present'), 1],
    array[leasehold_test.token('present'), null])$$,
  '22023', null, 'fail_many refuses a null member of tokens'
);
select throws_ok(
  $$select leasehold.fail_many(array[leasehold_test.job_id('present')], '{}')$$,
  '22023', null, 'fail_many refuses fewer tokens than job ids'
);
select throws_ok($$select pg_temp.fail(array['present'], array['x', 'y'])$$, '22023', null, 'fail_many refuses more errors than job ids');
select throws_ok(
  $$select pg_temp.fail(array['present'], null, array[null, null]::interval[])$$,
  '22023', null, 'fail_many refuses more delays than job ids'
);
select throws_ok(
  $$select pg_temp.fail(array['present'], null, null, array[null, null]::boolean[])$$,
  '22023', null, 'fail_many refuses more answers about retrying than job ids'
);
select throws_ok(
  $$select leasehold.fail_many(array[[leasehold_test.job_id('present')]],
    array[[leasehold_test.token('present')]])$$,
  '22023', null, 'fail_many refuses arrays of two dimensions'
);
select throws_ok(
  $$select leasehold.fail_many(array_fill(1::bigint, array[10001]),
    array_fill(gen_random_uuid(), array[10001]))$$,
  '22023', null, 'fail_many refuses more than 10000 items'
);
select throws_ok(
  format('select pg_temp.fail(array[''present'', ''left''], null, array[null, %L]::interval[])', span), '22023', null,
  format('fail_many refuses to retry in %s', span)
)
from unnest(array['-1 second', '3660 days 1 second']) as span;
select throws_ok(
  'set local transaction_read_only = on; select pg_temp.fail(array[''present''])', 'LH007', null,
  'fail_many refuses a read-only transaction'
);
select is(leasehold_test.state(), (table before), 'a batch that is refused changes no row');

select * from finish();
rollback;
