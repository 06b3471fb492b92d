-- prune: what is past its time goes, by whole days, and is counted.
begin;
select plan(33);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

create function pg_temp.partitions()
  returns text[]
  language sql
as $$
  select array_agg(right(relname, 4) order by relname)
  from pg_inherits join pg_class on pg_class.oid = inhrelid
  where inhparent = 'leasehold.finished'::regclass and relname <> 'finished_default'
$$;

create function pg_temp.traces(p_name text)
  returns integer
  language sql
as $$
  select count(*)::integer from (
    select job_id from leasehold.job
    union all select job_id from leasehold._live
    union all select job_id from leasehold.finished
    union all select job_id from leasehold.attempt
    union all select job_id from leasehold.checkpoint
  ) as trace where job_id = leasehold_test.job_id(p_name)
$$;

-- Whole days: kept for a day means until the end of the next.
select leasehold.create_queue('work', p_keep_completed => '1 day', p_keep_dead => '3 days');
select is(
  pg_temp.partitions(), array['0101', '0102', '0103', '0104', '0105', '0106'], 'there is a partition for each day on which a job of today may go'
);
select leasehold_test.start(name) from unnest(array['completed', 'dead', 'cancelled']) as name;
update leasehold.queue set keep_completed = '1 day', keep_dead = '3 days';
select leasehold.heartbeat(leasehold_test.job_id('completed'), leasehold_test.token('completed'), p_checkpoint => '1');
select leasehold.fail(leasehold_test.job_id('completed'), leasehold_test.token('completed'), 'x', '0');
select leasehold_test.take_over('completed again', 'completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed again'));
select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select leasehold.release(leasehold_test.job_id('cancelled'), leasehold_test.token('cancelled'));
select is(
  (select array_agg(right(tableoid::regclass::text, 4) order by job_id) from leasehold.finished), array['0102', '0104', '0102'],
  'finished jobs lie in the partition of the day on which they go; cancelled ones as long as completed ones'
);
select is(leasehold.prune(), 0, 'prune removes nothing that is to be kept');
select leasehold_test.set_now('2030-01-02 23:59:59.999999Z');
select is(leasehold.prune(), 0, 'a job stays until its day has ended');
select leasehold_test.set_now('2030-01-03 00:00:00Z');
select is(leasehold.prune(1), 1, 'prune removes as many jobs as its limit says');
select ok('0102' = any (pg_temp.partitions()), 'a partition with rows left is not dropped');
select is(leasehold.prune(), 1, 'the rest follows');
select is(pg_temp.traces('completed'), 0, 'a pruned job leaves no row, neither history nor checkpoint');
select ok(not '0102' = any (pg_temp.partitions()), 'a partition whose day is over is dropped');
select ok(array['0103', '0104', '0105', '0106', '0107', '0108'] <@ pg_temp.partitions(), 'partitions of the days to come are made');
select is(leasehold_test.state_of('dead'), 'dead', 'dead jobs are kept for their own time');
select is(
  (select array_agg((queue, completed, dead, cancelled, pruned)::text order by queue) from leasehold.queue_stats() where queue <> 'work'),
  array['(cancelled,0,0,0,1)', '(completed,0,0,0,1)', '(dead,0,1,0,0)'], 'removed jobs are counted (G1)'
);
create temp table before on commit drop as select leasehold_test.state();
select is(leasehold.prune(), 0, 'prune again removes nothing (G5)');
select is(leasehold_test.state(), (table before), 'a repeat changes nothing (G5)');
drop table before;

-- The default partition takes what has none, and is pruned too.
select leasehold.create_queue('long', p_keep_completed => '10 years');
select leasehold_test.start('long');
update leasehold.queue set keep_completed = '5 years' where name = 'long';
select leasehold.complete(leasehold_test.job_id('long'), leasehold_test.token('long'));
select is(
  (select tableoid::regclass::text from leasehold.finished where job_id = leasehold_test.job_id('long')), 'leasehold.finished_default',
  'a job for whose day there is no partition goes to the default one'
);
select lives_ok('select leasehold.prune()', 'prune lives with a default partition that has rows of a day to come');
select leasehold_test.set_now('2035-01-04 00:00:00Z');
select is(leasehold.prune(), 2, 'prune removes from the default partition as well');
select is(pg_temp.traces('long'), 0, 'and leaves no row');

-- Tallies are folded, and still add up.
select leasehold.create_queue('forgetful', p_keep_completed => '0');
select leasehold.enqueue('forgetful', '1') from generate_series(1, 5);
select leasehold.complete(leased.job_id, leased.token) from leasehold.lease_jobs(array['forgetful'], gen_random_uuid(), 5) as leased;
select leasehold.prune();
select is(
  (select array_agg(tally.pruned) from leasehold.tally as tally join leasehold.queue as queue using (queue_id) where queue.name = 'forgetful'),
  array[5]::bigint[], 'prune folds the counts of a queue into one row'
);
select leasehold.prune();
select is((select pruned from leasehold.queue_stats('forgetful')), 5::bigint, 'the count stays what it is (G1)');

-- Dedup keys go when their window has passed and their job has ended.
select leasehold.create_queue('dedup');
select leasehold.enqueue('dedup', '1', p_dedup_key => 'ended', p_dedup_window => '1 hour') as job_id into temp table ended;
select leasehold.cancel((table ended));
select leasehold.enqueue('dedup', '1', p_dedup_key => 'live', p_dedup_window => '1 hour');
select leasehold.enqueue('dedup', '1', p_dedup_key => 'scheduled', p_dedup_window => '1 hour', p_delay => '1 day');
select leasehold.enqueue('dedup', '1', p_dedup_key => 'leased', p_dedup_window => '1 hour', p_priority => 0);
select leasehold_test.take_over('dedup', 'dedup', '1 day');
select leasehold_test.advance('1 hour' - interval '1 microsecond');
select leasehold.prune();
select is(array(select dedup_key from leasehold.dedup order by 1), array['ended', 'leased', 'live', 'scheduled'], 'dedup keys stay for their window');
select leasehold_test.advance('1 microsecond');
update leasehold.upkeep set last_run_at = '-infinity' where task = 'dedup';
select leasehold.prune();
select is(array(select dedup_key from leasehold.dedup order by 1), array['leased', 'live', 'scheduled'], 'after its window a key stays only while its job is live');

-- Requests, outages, workers.
insert into leasehold.request values
  ('00000000-0000-4000-8000-00000000000a', leasehold._now() - interval '10 minutes'),
  ('00000000-0000-4000-8000-00000000000b', leasehold._now() - interval '10 minutes 1 microsecond');
insert into leasehold.outage values
  (leasehold._now() - interval '4 days', leasehold._now() - interval '2 days'),
  (leasehold._now() - interval '4 days', leasehold._now() - interval '2 days 1 microsecond');
insert into leasehold.worker (worker_id, started_at, heartbeat_at, host, queues)
values
  (gen_random_uuid(), leasehold._now(), leasehold._now() - interval '1 day', 'seen', '{}'),
  (gen_random_uuid(), leasehold._now(), leasehold._now() - interval '1 day 1 microsecond', 'gone', '{}'),
  (leasehold_test.worker_id('dedup'), leasehold._now(), leasehold._now() - interval '2 days', 'holder', '{}');
select leasehold.prune();
select is(array(select right(request_id::text, 1) from leasehold.request), array['a'], 'requests are remembered for ten minutes');
select is((select count(*)::integer from leasehold.outage), 1, 'outages are remembered for two days');
select is(array(select host from leasehold.worker order by host), array['holder', 'seen'], 'a worker not seen for a day goes, unless it holds a lease (S19)');

-- Jobs in a queue that was dropped.
select leasehold.create_queue('dropped', p_keep_completed => '0');
select leasehold.enqueue('dropped', '1'), leasehold.enqueue('dropped', '1', p_delay => '1 hour');
select leasehold.enqueue('dropped', '1', 0);
select leasehold_test.take_over('dropped', 'dropped', '1 day');
update leasehold.queue set dropped_at = leasehold._now() where name = 'dropped';
select leasehold.prune();
select is(
  (select count(*)::integer from leasehold._live as live join leasehold.queue as queue using (queue_id) where queue.name = 'dropped' and live.state <> 'leased'),
  0, 'jobs that slipped into a dropped queue are cancelled'
);
select is(
  (leasehold.complete(leasehold_test.job_id('dropped'), leasehold_test.token('dropped'))).status, 'completed',
  'one that is leased goes on'
);

select throws_ok(format('select leasehold.prune(%L)', bad), '22023', null, format('prune refuses a limit of %s', coalesce(bad::text, 'null')))
from unnest(array[0, -1, 100001, 2147483647, null]) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.prune()', 'LH007', null,
  'prune refuses a read-only transaction'
);

select * from finish();
rollback;
