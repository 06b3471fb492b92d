-- resume_queue: a paused queue is leased from again.
begin;
select plan(10);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

select leasehold.create_queue('work');
select leasehold.pause_queue('work');
select leasehold.enqueue('work', '1');
delete from leasehold_test.woken;
select lives_ok($$select leasehold.resume_queue('work')$$, 'resume_queue resumes a queue');
select is(leasehold_test.woken(), array['work'], 'resume_queue wakes the workers of the queue');
select is((select paused from leasehold.queue_stats('work')), false, 'queue_stats shows that the queue goes on');
select isnt_empty('select leasehold.lease_jobs(array[''work''], gen_random_uuid())', 'jobs of a resumed queue are leased');
create temp table before on commit drop as select leasehold_test.state();
select lives_ok($$select leasehold.resume_queue('work')$$, 'resume_queue may be repeated, and takes a queue that is not paused (G5)');
select is(leasehold_test.state(), (table before), 'a repeat changes nothing (G5)');

select throws_ok('select leasehold.resume_queue(''nowhere'')', 'LH005', 'queue "nowhere" does not exist', 'resume_queue refuses an unknown queue');
select throws_ok('select leasehold.resume_queue(null)', '22023', null, 'resume_queue refuses a null name');
select throws_ok(
  'set local transaction_read_only = on; select leasehold.resume_queue(''work'')', 'LH007', null,
  'resume_queue refuses a read-only transaction'
);

select leasehold.create_queue('answers'), leasehold.pause_queue('answers');
select is(
  array[leasehold.resume_queue('answers'), leasehold.resume_queue('answers')], array[true, false],
  'S39 resume_queue returns whether the queue was paused'
);

select * from finish();
rollback;
