-- drop_queue: a queue that has no live job goes; what ended in it stays for its time.
begin;
select plan(16);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

select leasehold_test.start('work');
select leasehold.complete(leasehold_test.job_id('work'), leasehold_test.token('work'));
select lives_ok($$select leasehold.drop_queue('work')$$, 'drop_queue drops a queue without live jobs');
select throws_ok('select leasehold.enqueue(''work'', ''1'')', 'LH005', null, 'a dropped queue takes no job');
select throws_ok('select leasehold.lease_jobs(array[''work''], gen_random_uuid())', 'LH005', null, 'a dropped queue is not leased from');
select throws_ok('select leasehold.drop_queue(''work'')', 'LH005', null, 'dropping a queue again finds none');
select is_empty('select from leasehold.queue_stats() where queue = ''work''', 'queue_stats does not show a dropped queue');
select is(
  (select (job.state, job.queue)::text from leasehold.job(leasehold_test.job_id('work')) as job), '(completed,work)',
  'finished jobs keep the name of their dropped queue'
);

select leasehold.create_queue('live');
select leasehold.enqueue('live', '1');
select throws_ok('select leasehold.drop_queue(''live'')', 'LH009', 'queue "live" still has jobs', 'drop_queue refuses a queue with a ready job');
select leasehold_test.take_over('live', 'live');
select throws_ok('select leasehold.drop_queue(''live'')', 'LH009', null, 'drop_queue refuses a queue with a leased job');
select leasehold.fail(leasehold_test.job_id('live'), leasehold_test.token('live'), p_retry_in => '1 hour');
select throws_ok('select leasehold.drop_queue(''live'')', 'LH009', null, 'drop_queue refuses a queue with a scheduled job');
select lives_ok($$select leasehold.enqueue('live', '2')$$, 'a queue that could not be dropped goes on');
select leasehold.purge_queue('live');
select lives_ok($$select leasehold.drop_queue('live')$$, 'drop_queue drops a queue that was purged');

-- A job that slipped in.
select leasehold.create_queue('slipping');
select leasehold.enqueue('slipping', '1') as job_id into temp table slipped;
update leasehold.queue set dropped_at = leasehold._now() where name = 'slipping';
select leasehold.prune();
select is(
  (select (job.state, job.reason)::text from slipped cross join lateral leasehold.job(slipped.job_id) as job),
  '(cancelled,queue_dropped)', 'prune cancels a job that slipped into a queue while it was dropped (G1)'
);

select throws_ok('select leasehold.drop_queue(''nowhere'')', 'LH005', null, 'drop_queue refuses an unknown queue');
select throws_ok('select leasehold.drop_queue(null)', '22023', null, 'drop_queue refuses a null name');
select leasehold.create_queue('present');
select throws_ok(
  'set local transaction_read_only = on; select leasehold.drop_queue(''present'')', 'LH007', null,
  'drop_queue refuses a read-only transaction'
);

select leasehold.create_queue('answers');
select is(leasehold.drop_queue('answers'), true, 'S39 drop_queue returns true');

select * from finish();
rollback;
