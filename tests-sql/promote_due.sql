-- promote_due: jobs whose time has come go into line.
begin;
select plan(18);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();
select leasehold.create_queue('work'), leasehold.create_queue('other');
select leasehold.enqueue('work', '1', 2, p_delay => '1 minute', p_time_to_live => '1 hour') as job_id into temp table first;
select leasehold.enqueue('other', '2', p_delay => '2 minutes');
select leasehold.enqueue('work', '3', p_delay => '3 minutes');
delete from leasehold_test.woken;

select is(leasehold.promote_due(), 0, 'promote_due moves nothing before it is due');
select is(leasehold_test.woken(), '{}', 'promote_due wakes nobody for nothing');
select leasehold_test.advance('1 minute' - interval '1 microsecond');
select is(leasehold.promote_due(), 0, 'a job is not due a microsecond early (C92)');
select leasehold_test.advance('1 microsecond');
select is(leasehold.promote_due(), 1, 'a job is due at the instant of its run_at (C92)');
select is(
  (select (state, priority, run_at, live_until - leasehold._now())::text from leasehold.job((table first))), '(ready,2,,01:00:00)',
  'a promoted job is ready and keeps its priority and its time to live'
);
select is(leasehold_test.woken(), array['work'], 'promote_due wakes the workers of the queue');
create temp table before on commit drop as select leasehold_test.state();
select is(leasehold.promote_due(), 0, 'promote_due again moves nothing (G5)');
select is(leasehold_test.state(), (table before), 'a repeat changes nothing (G5)');

-- A job that waited after a failure keeps what it has spent and its place in line.
select leasehold_test.take_over('work', 'work');
select leasehold.fail(leasehold_test.job_id('work'), leasehold_test.token('work'), 'x', '5 minutes');
select leasehold.enqueue('work', '4', 2);
select leasehold_test.advance('10 minutes');
delete from leasehold_test.woken;
select is(leasehold.promote_due(1), 1, 'promote_due moves as many as its limit says');
select is(leasehold_test.woken(), array['other'], 'the longest due comes first');
select is(leasehold.promote_due(), 2, 'the rest follows');
select is(
  (select array_agg((payload, attempt, failures)::text order by ordinality) from leasehold.peek('work') with ordinality),
  array['(1,1,1)', '(4,0,0)', '(3,0,0)'], 'a job that comes back has its place in line and its counters'
);

select throws_ok(format('select leasehold.promote_due(%L)', bad), '22023', null, format('promote_due refuses a limit of %s', coalesce(bad::text, 'null')))
from unnest(array[0, -1, 10001, 2147483647, null]) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.promote_due()', 'LH007', null,
  'promote_due refuses a read-only transaction'
);

select * from finish();
rollback;
