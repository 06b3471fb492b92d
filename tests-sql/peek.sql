-- peek: a page of a queue's jobs in one state, without touching them.
begin;
select plan(29);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold.create_queue('work');

create function pg_temp.peek(p_state text, p_limit integer default 20, p_after text default null)
  returns text[]
  language sql
as $$
  select coalesce(array_agg(job.payload #>> '{}' order by ordinality), '{}')
  from leasehold.peek('work', p_state, p_limit, (
    select job_id from leasehold.job where payload #>> '{}' = p_after
  )) with ordinality as job
$$;

-- One job in each state, several ready ones.
select leasehold.enqueue('work', to_jsonb(name), priority)
from (values ('completed', 0), ('dead', 0), ('cancelled', 0), ('leased 1', 0), ('leased 2', 0), ('5 a', 5), ('9 a', 9), ('5 b', 5), ('0 a', 0)) as job (name, priority);
select leasehold.enqueue('work', '"later"', p_delay => '2 hours'), leasehold.enqueue('work', '"sooner"', p_delay => '1 hour');
select leasehold_test.take_over(name, 'work') from unnest(array['completed', 'dead', 'cancelled', 'leased 1', 'leased 2']) as name;
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select leasehold.release(leasehold_test.job_id('cancelled'), leasehold_test.token('cancelled'));
select leasehold.enqueue('work', '"blocked"');
insert into leasehold.blocked (job_id, queue_id, attempt, releases, failures, losses, priority)
select job_id, queue_id, attempt, releases, failures, losses, priority
from leasehold.ready order by job_id desc limit 1;
delete from leasehold.ready where job_id in (select job_id from leasehold.blocked);
select leasehold.create_queue('other');
select leasehold.enqueue('other', '"foreign"', 0);

select is(pg_temp.peek('ready'), array['0 a', '5 a', '5 b', '9 a'], 'ready jobs come in the order in which they will run');
select is(array(select payload #>> '{}' from leasehold.peek('work')), array['0 a', '5 a', '5 b', '9 a'], 'peek shows ready jobs where no state is named');
select is(pg_temp.peek('scheduled'), array['later', 'sooner'], 'scheduled jobs come by id');
select is(pg_temp.peek('leased'), array['leased 1', 'leased 2'], 'leased jobs come by id');
select is(pg_temp.peek(state), array[state], format('peek shows %s jobs', state)) from unnest(array['blocked', 'completed', 'dead', 'cancelled']) as state;
select is(pg_temp.peek('ready', 2), array['0 a', '5 a'], 'a page has as many jobs as its limit says');
select is(pg_temp.peek('ready', 2, '5 a'), array['5 b', '9 a'], 'the next page begins after the last job of the page before');
select is(pg_temp.peek('ready', 2, '9 a'), '{}', 'there is no page after the last');
select is(pg_temp.peek('leased', 1, 'leased 1'), array['leased 2'], 'pages of other states go on by id');
select is(
  (select to_jsonb(peeked) from leasehold.peek('work', 'leased') as peeked where job_id = leasehold_test.job_id('leased 1')),
  to_jsonb(leasehold.job(leasehold_test.job_id('leased 1'))), 'peek shows of a job what job shows'
);

create temp table before on commit drop as select leasehold_test.state();
select leasehold.peek('work', 'leased');
select is(leasehold_test.state(), (table before), 'peek changes nothing');
select throws_ok('select leasehold.peek(''nowhere'')', 'LH005', null, 'peek refuses an unknown queue');
select throws_ok('select leasehold.peek(null)', '22023', null, 'peek refuses a null queue');
select throws_ok(format('select leasehold.peek(''work'', %L)', state), '22023', null, format('peek refuses the state %s', coalesce(state, 'null')))
from unnest(array['', 'READY', 'done', '%', null, repeat('x', 10000)]) as state;
select throws_ok(format('select leasehold.peek(''work'', ''ready'', %L)', bad), '22023', null, format('peek refuses a limit of %s', coalesce(bad::text, 'null')))
from unnest(array[0, -1, 1001, 2147483647, null]) as bad;
select throws_ok('select leasehold.peek(''work'', ''ready'', 20, 9223372036854775807)', 'LH002', null, 'peek refuses to go on after a job that does not exist');
set local transaction_read_only = on;
select is(pg_temp.peek('leased'), array['leased 1', 'leased 2'], 'peek works in a read-only transaction');

select * from finish();
rollback;
