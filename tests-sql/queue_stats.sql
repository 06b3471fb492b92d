-- queue_stats: how many jobs of each queue are where, and whether anybody serves it.
begin;
select plan(10);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

create function pg_temp.stats(p_queue text)
  returns text
  language sql
as $$
  select (scheduled, ready, blocked, leased, completed, dead, cancelled, pruned, oldest_ready_age, workers)::text
  from leasehold.queue_stats(p_queue)
$$;

select leasehold.create_queue('empty');
select is(pg_temp.stats('empty'), '(0,0,0,0,0,0,0,0,,0)', 'an empty queue counts nothing');

-- One job in every place.
select leasehold.create_queue('work');
select leasehold.enqueue('work', '1') from generate_series(1, 8);
select leasehold_test.take_over(name, 'work') from unnest(array['completed', 'dead', 'cancelled', 'leased', 'failed', 'gone']) as name;
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select leasehold.release(leasehold_test.job_id('cancelled'), leasehold_test.token('cancelled'));
select leasehold.fail(leasehold_test.job_id('failed'), leasehold_test.token('failed'), p_retry_in => '1 hour');
select leasehold.create_queue('work', p_keep_completed => '0');
select leasehold.complete(leasehold_test.job_id('gone'), leasehold_test.token('gone'));
insert into leasehold.blocked (job_id, queue_id, attempt, releases, failures, losses, priority)
select job_id, queue_id, attempt, releases, failures, losses, priority
from leasehold.ready order by job_id limit 1;
delete from leasehold.ready where job_id in (select job_id from leasehold.blocked);
select leasehold_test.advance('5 seconds');
select is(pg_temp.stats('work'), '(1,1,1,1,1,1,1,1,00:00:05,0)', 'queue_stats counts every job once, where it is (G1)');

-- The oldest ready job, whatever its priority and whether it came back.
select leasehold.create_queue('aged');
select leasehold.enqueue('aged', '1', p_priority => 9);
select leasehold_test.advance('1 minute');
select leasehold.enqueue('aged', '1', p_priority => 0);
select is(
  (select oldest_ready_age from leasehold.queue_stats('aged')), '1 minute',
  'oldest_ready_age looks at every priority'
);

-- Workers.
select leasehold.register_worker(gen_random_uuid(), array['aged', 'work']);
select leasehold.register_worker(gen_random_uuid(), array['aged']);
select is(
  (select array_agg((queue, workers)::text order by queue) from leasehold.queue_stats()),
  array['(aged,2)', '(empty,0)', '(work,1)'],
  'queue_stats of no name shows all queues by name, with the workers that serve each'
);
select leasehold_test.advance('2 minutes');
select is((select workers from leasehold.queue_stats('aged')), 0::bigint, 'a worker that was not seen for two minutes does not count');

-- A queue of a name that is like no other.
select leasehold.create_queue('%');
select is((select count(*)::integer from leasehold.queue_stats('%')), 1, 'a name is compared as it is, not as a pattern');

create temp table before on commit drop as select leasehold_test.state();
select leasehold.queue_stats();
select is(leasehold_test.state(), (table before), 'queue_stats changes nothing');
select throws_ok('select leasehold.queue_stats(''nowhere'')', 'LH005', null, 'queue_stats refuses an unknown queue');
select lives_ok(
  'select leasehold.queue_stats(null)', 'queue_stats of null shows all queues'
);
set local transaction_read_only = on;
select isnt_empty('select leasehold.queue_stats()', 'queue_stats works in a read-only transaction');

select * from finish();
rollback;
