-- heartbeat_many: one statement keeps all jobs of a process; each item is judged alone.
begin;
select plan(36);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.beat(p_names text[], p_extend interval default null, p_checkpoints jsonb[] default null)
  returns text[]
  language sql
as $$
  select array_agg((answer.status, answer.remaining, answer.cancel_requested)::text order by ordinality)
  from leasehold.heartbeat_many(
    array(select leasehold_test.job_id(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    array(select leasehold_test.token(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    p_extend,
    p_checkpoints
  ) with ordinality as answer
$$;

-- The ordinary case.
select leasehold_test.start('a', '30 seconds');
select leasehold_test.start('b');
select leasehold_test.start('c', '2 minutes');
delete from leasehold_test.woken;
select leasehold_test.advance('10 seconds');
select is(
  pg_temp.beat(array['c', 'a', 'b']),
  array['(ok,00:02:00,f)', '(ok,00:00:30,f)', '(ok,00:01:00,f)'],
  'heartbeat_many renews each lease for its own length and answers in the order of the batch'
);
select results_eq(
  $$select job_id from leasehold.heartbeat_many(
    array[leasehold_test.job_id('c'), leasehold_test.job_id('a')],
    array[leasehold_test.token('c'), leasehold_test.token('a')])$$,
  $$values (leasehold_test.job_id('c')), (leasehold_test.job_id('a'))$$,
  'each answer names its job'
);
select is(leasehold_test.woken(), '{}', 'heartbeat_many wakes nobody');
create temp table before on commit drop as select leasehold_test.state();
select is(
  pg_temp.beat(array['a', 'b', 'a', 'c']),
  array['(ok,00:00:30,f)', '(ok,00:01:00,f)', '(ok,00:00:30,f)', '(ok,00:02:00,f)'],
  'heartbeat_many may be repeated, and may name a job twice (G5)'
);
select is(leasehold_test.state(), (table before), 'renewals at the same instant change nothing');
drop table before;
select is(
  pg_temp.beat(array['a', 'b', 'c'], '1 minute'),
  array['(ok,00:01:00,f)', '(ok,00:01:00,f)', '(ok,00:02:00,f)'],
  'heartbeat_many extends by what is asked for and never shortens (G7)'
);

-- Every fate in one batch (C14).
select leasehold_test.start('cancelling');
select leasehold.cancel(leasehold_test.job_id('cancelling'));
select leasehold_test.start('completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select leasehold_test.start('released');
select leasehold.release(leasehold_test.job_id('released'), leasehold_test.token('released'));
select leasehold_test.lose('lost');
select leasehold_test.start('reaped');
select leasehold_test.reap();
select leasehold_test.start('cancelled');
select leasehold_test.reap();
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select leasehold_test.start('expired');
select leasehold_test.lapse();
select leasehold_test.start('current');
insert into leasehold_test.held values
  ('missing', 9223372036854775807, gen_random_uuid(), gen_random_uuid());
select is(
  pg_temp.beat(array['lost', 'current', 'missing', 'reaped', 'completed', 'expired', 'cancelled', 'released']),
  array[
    '(lost,,f)', '(ok,00:01:00,f)', '(lost,,f)', '(revived,00:01:00,f)', '(lost,,f)',
    '(revived,00:01:00,f)', '(lost,,t)', '(lost,,f)'
  ],
  'heartbeat_many judges each item alone: stale, current and late tokens in one batch (G3, G4)'
);
select is(
  (select count(*)::integer from leasehold.lease
    where job_id in (leasehold_test.job_id('reaped'), leasehold_test.job_id('expired'))
      and expires_at = leasehold._now() + interval '1 minute'),
  2,
  'revived leases are current again (G4)'
);
select is(
  (select (job.losses, job.history)::text from leasehold.job(leasehold_test.job_id('reaped')) as job),
  '(0,)',
  'the loss that the reaper counted is taken back'
);
select leasehold_test.start('cancel asked');
select leasehold.cancel(leasehold_test.job_id('cancel asked'), 'enough');
select results_eq(
  $$select status, cancel_requested, cancel_reason from leasehold.heartbeat_many(
    array[leasehold_test.job_id('cancel asked')], array[leasehold_test.token('cancel asked')])$$,
  $$values ('ok', true, 'enough')$$,
  'heartbeat_many says that a cancel is asked for, and why'
);

-- Nothing but stale tokens: not a byte changes.
create temp table before on commit drop as select leasehold_test.state();
select is(
  pg_temp.beat(array['lost', 'missing', 'released'], '1 hour', array['1', '2', '3']::jsonb[]),
  array['(lost,,f)', '(lost,,f)', '(lost,,f)'],
  'heartbeat_many of stale tokens alone renews nothing'
);
select is(
  array(select status from leasehold.heartbeat_many(
    array[leasehold_test.job_id('current'), leasehold_test.job_id('expired')],
    array[leasehold_test.token('expired'), leasehold_test.token('current')],
    '1 hour', array['1', '2']::jsonb[]
  )),
  array['lost', 'lost'],
  'heartbeat_many refuses two tokens that are swapped (G3)'
);
select is(leasehold_test.state(), (table before), 'stale and swapped tokens change no row (G3)');
drop table before;
select is(
  array(select status from leasehold.heartbeat_many(
    array[leasehold_test.job_id('current'), leasehold_test.job_id('current')],
    array[gen_random_uuid(), leasehold_test.token('current')],
    null, array['"stale"', null]::jsonb[]
  )),
  array['lost', 'ok'],
  'heartbeat_many judges two tokens for one job apart'
);
select is(
  (leasehold.job(leasehold_test.job_id('current'))).checkpoint, null,
  'a stale item saves no checkpoint, even beside the newest token (G3)'
);

-- Checkpoints.
select leasehold_test.start('x');
select leasehold_test.start('y');
select pg_temp.beat(array['x', 'y'], null, array['1', '2']::jsonb[]);
select pg_temp.beat(array['y', 'x'], null, array[null, '3']::jsonb[]);
select is(
  array[(leasehold.job(leasehold_test.job_id('x'))).checkpoint, (leasehold.job(leasehold_test.job_id('y'))).checkpoint],
  array['3', '2']::jsonb[],
  'a checkpoint replaces the last one of its job, a null member leaves it'
);
select pg_temp.beat(array['x', 'x', 'x'], null, array['4', '5', null]::jsonb[]);
select is(
  (leasehold.job(leasehold_test.job_id('x'))).checkpoint, '5',
  'of two checkpoints for one job in a batch the last is kept'
);
select leasehold_test.start('z');
select leasehold_test.reap();
select pg_temp.beat(array['z'], null, array['"late"']::jsonb[]);
select is(
  (leasehold.job(leasehold_test.job_id('z'))).checkpoint, '"late"',
  'a late heartbeat that revives saves its checkpoint (G4)'
);

-- The longest runtime.
select leasehold.create_queue('capped', p_max_runtime => '90 seconds');
select leasehold_test.start('capped');
select leasehold_test.advance('50 seconds');
select pg_temp.beat(array['capped']);
select leasehold_test.advance('50 seconds');
select is(
  pg_temp.beat(array['capped'], '1 day'), array['(ok,00:00:50,f)'],
  'heartbeat_many renews until one lease length after the longest runtime and no further'
);

-- Many.
select leasehold.create_queue('bulk');
select leasehold.enqueue_many('bulk', (select jsonb_agg('{"payload": 1}'::jsonb) from generate_series(1, 10000)));
create temp table bulk on commit drop as
select leased.job_id, leased.token from leasehold.lease_jobs(array['bulk'], gen_random_uuid(), 10000) as leased;
select leasehold_test.advance('30 seconds');
select is(
  (select count(*)::integer from leasehold.heartbeat_many(
    array(select job_id from bulk order by token), array(select token from bulk order by token)
  ) where status = 'ok' and remaining = '1 minute'),
  10000,
  'heartbeat_many renews 10000 leases at once'
);

-- Bad arguments.
create temp table before on commit drop as select leasehold_test.state();
select is_empty(
  $$select leasehold.heartbeat_many('{}', '{}')$$, 'heartbeat_many of nothing answers nothing'
);
select throws_ok(
  $$select leasehold.heartbeat_many(null, '{}')$$, '22023', null, 'heartbeat_many refuses null job ids'
);
select throws_ok(
  $$select leasehold.heartbeat_many('{}', null)$$, '22023', null, 'heartbeat_many refuses null tokens'
);
select throws_ok(
  $$select leasehold.heartbeat_many(array[leasehold_test.job_id('x'), null],
    array[leasehold_test.token('x'), gen_random_uuid()])$$,
  '22023', null, 'heartbeat_many refuses a null member of job ids'
);
select throws_ok(
  $$select leasehold.heartbeat_many(array[leasehold_test.job_id('x'), 1],
    array[leasehold_test.token('x'), null])$$,
  '22023', null, 'heartbeat_many refuses a null member of tokens'
);
select throws_ok(
  $$select leasehold.heartbeat_many(array[leasehold_test.job_id('x')], '{}')$$,
  '22023', null, 'heartbeat_many refuses fewer tokens than job ids'
);
select throws_ok(
  $$select leasehold.heartbeat_many(array[leasehold_test.job_id('x')],
    array[leasehold_test.token('x')], null, array['1', '2']::jsonb[])$$,
  '22023', null, 'heartbeat_many refuses more checkpoints than job ids'
);
select throws_ok(
  $$select leasehold.heartbeat_many(array[[leasehold_test.job_id('x')]],
    array[[leasehold_test.token('x')]])$$,
  '22023', null, 'heartbeat_many refuses arrays of two dimensions'
);
select throws_ok(
  $$select leasehold.heartbeat_many(array_fill(1::bigint, array[100001]),
    array_fill(gen_random_uuid(), array[100001]))$$,
  '22023', null, 'heartbeat_many refuses more than 100000 items'
);
select throws_ok(
  format('select pg_temp.beat(array[''x''], %L)', span), '22023', null,
  format('heartbeat_many refuses to extend by %s', span)
)
from unnest(array['0', '-1 second', '999 milliseconds', '1 day 1 microsecond']) as span;
select throws_ok(
  $$select pg_temp.beat(array['x', 'y'], null, array['1', to_jsonb(repeat('x', 1048575))])$$,
  'LH008', null, 'heartbeat_many refuses a checkpoint over 1 MiB'
);
select throws_ok(
  'set local transaction_read_only = on; select pg_temp.beat(array[''x''])', 'LH007', null,
  'heartbeat_many refuses a read-only transaction'
);
select is(leasehold_test.state(), (table before), 'a batch that is refused changes no row');

select * from finish();
rollback;
