-- pause_queue: nothing more is leased from a queue; everything else goes on.
begin;
select plan(14);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

select leasehold_test.start('work');
select leasehold.enqueue('work', '2');
select lives_ok($$select leasehold.pause_queue('work')$$, 'pause_queue pauses a queue');
select is_empty('select leasehold.lease_jobs(array[''work''], gen_random_uuid())', 'nobody leases from a paused queue');
select is((select paused from leasehold.queue_stats('work')), true, 'queue_stats shows that the queue is paused');
select leasehold_test.advance('1 minute');
create temp table before on commit drop as select leasehold_test.state();
select lives_ok($$select leasehold.pause_queue('work')$$, 'pause_queue may be repeated (G5)');
select is(leasehold_test.state(), (table before), 'a repeat changes nothing: the first time of pausing stays (G5)');

select is(
  (leasehold.heartbeat(leasehold_test.job_id('work'), leasehold_test.token('work'))).status, 'revived',
  'a job of a paused queue is renewed'
);
select lives_ok($$select leasehold.enqueue('work', '3')$$, 'a paused queue takes jobs');
select leasehold_test.reap();
select is(leasehold_test.state_of('work'), 'ready', 'an expired lease of a paused queue is reaped');
select is(
  (leasehold.complete(leasehold_test.job_id('work'), leasehold_test.token('work'))).status, 'completed',
  'a job of a paused queue can be completed late (G4)'
);
select leasehold.create_queue('other');
select leasehold.enqueue('other', '1');
select is(
  (select array_agg(leased.queue) from leasehold.lease_jobs(array['work', 'other'], gen_random_uuid(), 10) as leased),
  array['other'], 'a paused queue does not keep others from being leased in the same call'
);

select throws_ok('select leasehold.pause_queue(''nowhere'')', 'LH005', 'queue "nowhere" does not exist', 'pause_queue refuses an unknown queue');
select throws_ok('select leasehold.pause_queue(null)', '22023', null, 'pause_queue refuses a null name');
select throws_ok(
  'set local transaction_read_only = on; select leasehold.pause_queue(''work'')', 'LH007', null,
  'pause_queue refuses a read-only transaction'
);

select leasehold.create_queue('answers');
select is(
  array[leasehold.pause_queue('answers'), leasehold.pause_queue('answers')], array[true, false],
  'S39 pause_queue returns whether the queue was running'
);

select * from finish();
rollback;
