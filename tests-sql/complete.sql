-- complete: the newest token ends its job, once, and every repeat hears the same.
begin;
select plan(45);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

-- The ordinary case.
select leasehold_test.start('plain');
delete from leasehold_test.woken;
select is(
  leasehold.complete(leasehold_test.job_id('plain'), leasehold_test.token('plain'), '{"n": 1}'),
  row(leasehold_test.job_id('plain'), 'completed', false, null)::leasehold.settlement,
  'complete completes the job of the newest token'
);
select is(
  (select (job.state, job.result, job.late, job.finished_at)::text
    from leasehold.job(leasehold_test.job_id('plain')) as job),
  $$(completed,"{""n"": 1}",f,"2030-01-01 12:00:00+00")$$,
  'a completed job shows its result and when it ended'
) from set_config('timezone', 'UTC', true);
select is(
  (select count(*)::integer from leasehold._live as live where live.job_id = leasehold_test.job_id('plain')),
  0,
  'a completed job is in no position'
);
select is_empty(
  'select from leasehold.attempt where job_id = leasehold_test.job_id(''plain'')',
  'an attempt that succeeded leaves no history row'
);
select is(leasehold_test.woken(), '{}', 'complete wakes nobody');

-- A repeat (G5).
create temp table before on commit drop as select leasehold_test.state();
select is(
  (leasehold.complete(leasehold_test.job_id('plain'), leasehold_test.token('plain'), '{"n": 2}')).status,
  'already_completed',
  'complete with the same token again answers already_completed (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat of complete changes nothing: the first result stays (G5)');

-- A result may be missing, or JSON null.
select leasehold_test.start('silent');
select leasehold.complete(leasehold_test.job_id('silent'), leasehold_test.token('silent'));
select is(
  (leasehold.job(leasehold_test.job_id('silent'))).result,
  null,
  'complete without a result stores none'
);
select leasehold_test.start('null result');
select leasehold.complete(leasehold_test.job_id('null result'), leasehold_test.token('null result'), 'null');
select is(
  (leasehold.job(leasehold_test.job_id('null result'))).result,
  'null',
  'complete keeps a result that is JSON null'
);
select leasehold_test.start('full');
select is(
  (leasehold.complete(
    leasehold_test.job_id('full'), leasehold_test.token('full'), to_jsonb(repeat('x', 1048574))
  )).status,
  'completed',
  'complete takes a result of 1 MiB'
);
select leasehold_test.start('overfull');
select throws_ok(
  $$select leasehold.complete(
    leasehold_test.job_id('overfull'), leasehold_test.token('overfull'), to_jsonb(repeat('x', 1048575))
  )$$,
  'LH008', 'result must be at most 1048576 bytes, got 1048577',
  'complete refuses a result of one byte more'
);

-- Late, but nobody was quicker (G4).
select leasehold_test.start('late');
select leasehold_test.lapse();
select is(
  leasehold.complete(leasehold_test.job_id('late'), leasehold_test.token('late')),
  row(leasehold_test.job_id('late'), 'completed', true, null)::leasehold.settlement,
  'complete accepts a lease that has expired and says late (G4)'
);
select is((leasehold.job(leasehold_test.job_id('late'))).late, true, 'the job remembers that it was late');
select leasehold_test.start('exact');
select leasehold_test.advance('60 seconds');
select is(
  (leasehold.complete(leasehold_test.job_id('exact'), leasehold_test.token('exact'))).late,
  true,
  'a lease has expired at the instant of its expiry'
);

select leasehold_test.start('reaped');
select leasehold_test.reap();
select is(
  leasehold_test.state_of('reaped'), 'ready', 'a reaped job is ready again'
);
select is(
  leasehold.complete(leasehold_test.job_id('reaped'), leasehold_test.token('reaped'), '"done"'),
  row(leasehold_test.job_id('reaped'), 'completed', true, null)::leasehold.settlement,
  'complete accepts a lease that was reaped while nobody has leased the job since (G4)'
);
select is(
  (select (job.state, job.attempt, job.losses, job.result, job.history)::text
    from leasehold.job(leasehold_test.job_id('reaped')) as job),
  '(completed,1,0,"""done""",)',
  'the loss that the reaper counted is taken back'
);
select is_empty(
  'select leasehold.lease_jobs(array[''reaped''], gen_random_uuid())',
  'nobody runs a job again that was completed late (G4)'
);
select is(
  (leasehold.complete(leasehold_test.job_id('reaped'), leasehold_test.token('reaped'))).status,
  'already_completed',
  'a late complete is repeatable too (G5)'
);

-- Any other token changes nothing and is told so (G3).
select leasehold_test.lose('lost');
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''lost''), leasehold_test.token(''lost''))',
  'LH001', format('lease on job %s is lost', leasehold_test.job_id('lost')),
  'complete refuses a token once another worker has leased the job (G4)'
);
select is(
  (leasehold.complete(leasehold_test.job_id('thief of lost'), leasehold_test.token('thief of lost'), '"theirs"')).status,
  'completed',
  'the newest holder completes the job'
);
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''lost''), leasehold_test.token(''lost''))',
  'LH001', null,
  'complete refuses an old token also when the newest has completed the job (G3)'
);
select is((leasehold.job(leasehold_test.job_id('lost'))).result, '"theirs"', 'the result is the newest holder''s');

select leasehold_test.start('guessed');
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''guessed''), gen_random_uuid())',
  'LH001', null,
  'complete refuses a token that was never granted (G3)'
);
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''guessed''), leasehold_test.token(''overfull''))',
  'LH001', null,
  'complete refuses the token of another job (G3)'
);
select throws_ok(
  'select leasehold.complete(leasehold.enqueue(''guessed'', ''1''), gen_random_uuid())',
  'LH001', null,
  'complete refuses any token for a job that was never leased (G3)'
);

-- Retired tokens (G4).
select leasehold_test.start('failed');
select leasehold.fail(leasehold_test.job_id('failed'), leasehold_test.token('failed'));
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''failed''), leasehold_test.token(''failed''))',
  'LH001', null,
  'complete refuses a token that fail has retired (G4)'
);
select leasehold_test.start('released');
select leasehold.release(leasehold_test.job_id('released'), leasehold_test.token('released'));
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''released''), leasehold_test.token(''released''))',
  'LH001', null,
  'complete refuses a token that release has retired (G4)'
);
select leasehold_test.start('dead');
select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''dead''), leasehold_test.token(''dead''))',
  'LH004', format('job %s is finished', leasehold_test.job_id('dead')),
  'complete refuses a job that its holder has dead-lettered'
);
select leasehold.create_queue('poison', p_max_losses => 1);
select leasehold_test.start('poison');
-- The second time the loss that is the last is final.
select leasehold_test.reap();
select leasehold_test.reap();
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''poison''), leasehold_test.token(''poison''))',
  'LH004', null,
  'complete refuses a job that the reaper has made dead: a finished job never changes'
);
select leasehold_test.start('cancelled');
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select leasehold.release(leasehold_test.job_id('cancelled'), leasehold_test.token('cancelled'));
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''cancelled''), leasehold_test.token(''cancelled''))',
  'LH003', format('job %s is cancelled', leasehold_test.job_id('cancelled')),
  'complete refuses a job that was cancelled'
);
select leasehold_test.start('reaped and cancelled');
select leasehold_test.reap();
select leasehold.cancel(leasehold_test.job_id('reaped and cancelled'));
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''reaped and cancelled''), leasehold_test.token(''reaped and cancelled''))',
  'LH003', null,
  'complete refuses a job that was cancelled after its lease was reaped (G4)'
);
select leasehold_test.start('reaped and purged');
select leasehold_test.reap();
select leasehold.purge_queue('reaped and purged');
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''reaped and purged''), leasehold_test.token(''reaped and purged''))',
  'LH002', format('job %s does not exist', leasehold_test.job_id('reaped and purged')),
  'complete refuses a job that was purged after its lease was reaped'
);
select leasehold_test.start('redriven');
select leasehold.dead_letter(leasehold_test.job_id('redriven'), leasehold_test.token('redriven'));
select leasehold.redrive(array[leasehold_test.job_id('redriven')]);
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''redriven''), leasehold_test.token(''redriven''))',
  'LH001', null,
  'complete refuses a token of the generation before a redrive'
);

-- A cancel that comes too late, and a pause.
select leasehold_test.start('too late to cancel');
select leasehold.cancel(leasehold_test.job_id('too late to cancel'));
select is(
  (leasehold.complete(leasehold_test.job_id('too late to cancel'), leasehold_test.token('too late to cancel'))).status,
  'completed',
  'complete wins over a cancel that was only asked for'
);
select leasehold_test.start('paused');
select leasehold.pause_queue('paused');
select is(
  (leasehold.complete(leasehold_test.job_id('paused'), leasehold_test.token('paused'))).status,
  'completed',
  'complete goes on while the queue is paused'
);

-- Kept for no time.
select leasehold.create_queue('forgetful', p_keep_completed => '0');
select leasehold_test.start('forgetful');
select leasehold.heartbeat(leasehold_test.job_id('forgetful'), leasehold_test.token('forgetful'), p_checkpoint => '1');
select is(
  (leasehold.complete(leasehold_test.job_id('forgetful'), leasehold_test.token('forgetful'))).status,
  'completed',
  'complete answers the same where the queue keeps no completed jobs'
);
select is(
  (select count(*)::integer from (
    select job_id from leasehold.job
    union all select job_id from leasehold._live
    union all select job_id from leasehold.finished
    union all select job_id from leasehold.attempt
    union all select job_id from leasehold.checkpoint
  ) as trace where job_id = leasehold_test.job_id('forgetful')),
  0,
  'a queue that keeps completed jobs for no time has no row of them left'
);
select is(
  (select pruned from leasehold.queue_stats('forgetful')), 1::bigint,
  'a job that leaves no row behind is counted as pruned (G1)'
);
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''forgetful''), leasehold_test.token(''forgetful''))',
  'LH002', null,
  'a repeat finds no job where completed jobs are kept for no time'
);

-- Bad arguments.
select throws_ok(
  'select leasehold.complete(9223372036854775807, gen_random_uuid())', 'LH002', null,
  'complete refuses a job that does not exist'
);
select throws_ok(
  'select leasehold.complete(-1, gen_random_uuid())', 'LH002', null,
  'complete refuses a negative job id'
);
select throws_ok(
  'select leasehold.complete(null, gen_random_uuid())', '22023', null,
  'complete refuses a null job id'
);
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''guessed''), null)', '22023', null,
  'complete refuses a null token'
);
select throws_ok(
  'set local transaction_read_only = on;
   select leasehold.complete(leasehold_test.job_id(''guessed''), leasehold_test.token(''guessed''))',
  'LH007', null,
  'complete refuses a read-only transaction'
);

select * from finish();
rollback;
