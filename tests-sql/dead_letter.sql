-- dead_letter: the handler knows that another try is useless; a person has to look.
begin;
select plan(30);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.dead_letter(p_name text, p_reason text default null)
  returns text
  language sql
as $$
  select (settlement.status, settlement.late, settlement.retry_in)::text
  from leasehold.dead_letter(leasehold_test.job_id(p_name), leasehold_test.token(p_name), p_reason) as settlement
$$;

-- The ordinary case.
select leasehold_test.start('plain');
select leasehold.heartbeat(leasehold_test.job_id('plain'), leasehold_test.token('plain'), p_checkpoint => '{"at": 7}');
delete from leasehold_test.woken;
select is(pg_temp.dead_letter('plain', 'the file is not a video'), '(dead,f,)', 'dead_letter makes the job dead');
select is(
  (select (job.state, job.reason, job.failures, job.losses, job.attempt)::text
    from leasehold.job(leasehold_test.job_id('plain')) as job),
  '(dead,"the file is not a video",0,0,1)',
  'dead_letter keeps the reason and spends no budget (G8)'
);
select is(
  (select (job.payload, job.checkpoint, job.history -> 0 ->> 'outcome', job.history -> 0 ->> 'error')::text
    from leasehold.job(leasehold_test.job_id('plain')) as job),
  '("""plain""","{""at"": 7}",dead_lettered,"the file is not a video")',
  'a dead job keeps its payload, its checkpoint and its history'
);
select is(leasehold_test.woken(), '{}', 'dead_letter wakes nobody');
create temp table before on commit drop as select leasehold_test.state();
select is(pg_temp.dead_letter('plain', 'other'), '(already_dead,f,)', 'a repeat of dead_letter answers already_dead (G5)');
select is(leasehold_test.state(), (table before), 'a repeat of dead_letter changes nothing (G5)');
drop table before;
select leasehold_test.start('silent');
select pg_temp.dead_letter('silent');
select is((leasehold.job(leasehold_test.job_id('silent'))).reason, 'dead_lettered', 'a job that is dead without a reason says how it died');
select leasehold_test.start('verbose');
select lives_ok($$select pg_temp.dead_letter('verbose', repeat('x', 10000000))$$, 'dead_letter takes a reason of 10 MB');
select is(length((leasehold.job(leasehold_test.job_id('verbose'))).reason), 16384, 'dead_letter cuts the reason to 16384 characters');

-- Retired (G4), and taken back by redrive alone.
select throws_ok(
  $$select leasehold.heartbeat(leasehold_test.job_id('plain'), leasehold_test.token('plain'))$$, 'LH004', null,
  'dead_letter retires its token: a heartbeat cannot take the job back (G4)'
);
select leasehold.redrive(array[leasehold_test.job_id('plain')]);
select is(pg_temp.dead_letter('plain'), '(already_dead,f,)', 'dead_letter stays repeatable after a redrive (G5)');
select is(leasehold_test.state_of('plain'), 'ready', 'a stale repeat leaves the new generation alone (G3)');

-- A cancel that was asked for does not hide that the job is bad.
select leasehold_test.start('cancelling');
select leasehold.cancel(leasehold_test.job_id('cancelling'));
select is(pg_temp.dead_letter('cancelling'), '(dead,f,)', 'dead_letter wins over a cancel that was only asked for');

-- Late (G4).
select leasehold_test.start('late');
select leasehold_test.lapse();
select is(pg_temp.dead_letter('late'), '(dead,t,)', 'dead_letter accepts a lease that has expired and says late (G4)');
select leasehold_test.start('reaped');
select leasehold_test.reap();
select is(pg_temp.dead_letter('reaped'), '(dead,t,)', 'dead_letter accepts a lease that was reaped while nobody has leased the job since (G4)');
select is(
  (select (job.losses, jsonb_array_length(job.history), job.history -> 0 ->> 'outcome')::text
    from leasehold.job(leasehold_test.job_id('reaped')) as job),
  '(0,1,dead_lettered)', 'a late dead_letter takes the loss back that the reaper counted'
);

-- Any other token changes nothing (G3).
select leasehold_test.lose('lost');
create temp table before on commit drop as select leasehold_test.state();
select throws_ok(
  $$select pg_temp.dead_letter('lost')$$, 'LH001', format('lease on job %s is lost', leasehold_test.job_id('lost')),
  'dead_letter refuses a token once another worker has leased the job (G4)'
);
select throws_ok(
  'select leasehold.dead_letter(leasehold_test.job_id(''lost''), gen_random_uuid())', 'LH001', null,
  'dead_letter refuses a token that was never granted (G3)'
);
select is(leasehold_test.state(), (table before), 'a stale dead_letter changes no row (G3)');
select leasehold_test.start('completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select is(pg_temp.dead_letter('completed'), '(already_completed,f,)', 'dead_letter after complete answers already_completed (G5)');
select leasehold.create_queue('poison', p_max_losses => 1);
select leasehold_test.start('poison');
-- The second time the loss that is the last is final.
select leasehold_test.reap();
select leasehold_test.reap();
select throws_ok($$select pg_temp.dead_letter('poison')$$, 'LH004', null, 'dead_letter refuses a job that the reaper has made dead');
select leasehold_test.start('reaped and cancelled');
select leasehold_test.reap();
select leasehold.cancel(leasehold_test.job_id('reaped and cancelled'));
select throws_ok(
  $$select pg_temp.dead_letter('reaped and cancelled')$$, 'LH003', null,
  'dead_letter refuses a job that was cancelled after its lease was reaped'
);

-- Kept for no time.
select leasehold.create_queue('forgetful', p_keep_dead => '0');
select leasehold_test.start('forgetful');
select is(pg_temp.dead_letter('forgetful'), '(dead,f,)', 'dead_letter answers the same where the queue keeps no dead jobs');
select throws_ok(
  'select leasehold.job(leasehold_test.job_id(''forgetful''))', 'LH002', null,
  'a queue that keeps dead jobs for no time does not know the job any more'
);
select is((select pruned from leasehold.queue_stats('forgetful')), 1::bigint, 'the job is counted as pruned (G1)');

-- Bad arguments.
select leasehold_test.start('current');
select throws_ok('select leasehold.dead_letter(9223372036854775807, gen_random_uuid())', 'LH002', null, 'dead_letter refuses a job that does not exist');
select throws_ok('select leasehold.dead_letter(null, gen_random_uuid())', '22023', null, 'dead_letter refuses a null job id');
select throws_ok('select leasehold.dead_letter(leasehold_test.job_id(''current''), null)', '22023', null, 'dead_letter refuses a null token');
select throws_ok(
  'set local transaction_read_only = on; select pg_temp.dead_letter(''current'')', 'LH007', null,
  'dead_letter refuses a read-only transaction'
);
select is(leasehold_test.state_of('current'), 'leased', 'a call that is refused leaves the lease alone');

select * from finish();
rollback;
