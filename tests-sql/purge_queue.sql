-- purge_queue: the waiting jobs of a queue are removed without a trace, except in the count.
begin;
select plan(17);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

select leasehold_test.start('work');
select leasehold_test.start('other');
select leasehold.enqueue('work', '"ready"') from generate_series(1, 3);
select leasehold.enqueue('work', '"scheduled"', p_delay => '1 hour') from generate_series(1, 2);
insert into leasehold.blocked (job_id, queue_id, attempt, releases, failures, losses, priority)
select job_id, queue_id, attempt, releases, failures, losses, priority
from leasehold.ready order by job_id limit 1;
delete from leasehold.ready where job_id in (select job_id from leasehold.blocked);
select leasehold.enqueue('other', '1');
-- One that has a history and a checkpoint.
select leasehold_test.start('tried');
update leasehold.job set queue_id = (select queue_id from leasehold.queue where name = 'work')
where job_id = leasehold_test.job_id('tried');
update leasehold.lease set queue_id = (select queue_id from leasehold.queue where name = 'work')
where job_id = leasehold_test.job_id('tried');
select leasehold.heartbeat(leasehold_test.job_id('tried'), leasehold_test.token('tried'), p_checkpoint => '1');
select leasehold.fail(leasehold_test.job_id('tried'), leasehold_test.token('tried'));

select is(leasehold.purge_queue('work', 2), 2, 'purge_queue removes as many as its limit says');
select is(leasehold.purge_queue('work'), 4, 'purge_queue removes ready, scheduled and blocked jobs');
select is(leasehold.purge_queue('work'), 0, 'purge_queue again finds nothing (G5)');
select is(
  (select (scheduled, ready, blocked, leased, completed, dead, cancelled, pruned)::text from leasehold.queue_stats('work')),
  '(0,0,0,1,0,0,0,6)', 'purged jobs are counted as pruned, the leased one stays (G1)'
);
select is(
  (select (ready, leased)::text from leasehold.queue_stats('other')), '(1,1)', 'purge_queue leaves other queues alone'
);
select throws_ok('select leasehold.job(leasehold_test.job_id(''tried''))', 'LH002', null, 'a purged job does not exist any more');
select is(
  (select count(*)::integer from (
    select job_id from leasehold.attempt union all select job_id from leasehold.checkpoint
  ) as trace where job_id = leasehold_test.job_id('tried')),
  0, 'a purged job leaves neither history nor checkpoint'
);
select is(
  (leasehold.complete(leasehold_test.job_id('work'), leasehold_test.token('work'))).status, 'completed',
  'the leased job goes on and completes'
);

select throws_ok('select leasehold.purge_queue(''nowhere'')', 'LH005', null, 'purge_queue refuses an unknown queue');
select throws_ok('select leasehold.purge_queue(null)', '22023', null, 'purge_queue refuses a null name');
select throws_ok(
  format('select leasehold.purge_queue(''work'', %L)', bad), '22023', null, format('purge_queue refuses a limit of %s', coalesce(bad::text, 'null'))
)
from unnest(array[0, -1, null, 100001, 2147483647]) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.purge_queue(''work'')', 'LH007', null,
  'purge_queue refuses a read-only transaction'
);

select leasehold.create_queue('keyed');
create temp table keyed as select leasehold.enqueue('keyed', '1', p_dedup_key => 'k') as job_id;
select leasehold.purge_queue('keyed');
select isnt(
  leasehold.enqueue('keyed', '1', p_dedup_key => 'k'), (select job_id from keyed),
  'purge_queue gives back the dedup keys of what it removes'
);

select * from finish();
rollback;
