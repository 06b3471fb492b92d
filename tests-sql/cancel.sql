-- cancel: a job that nobody works on ends at once; a holder is asked to stop.
begin;
select plan(32);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

-- Not leased: at once, from any position.
select leasehold.create_queue('work');
create temp table job on commit drop as
select 'ready' as name, leasehold.enqueue('work', '1') as job_id
union all select 'scheduled', leasehold.enqueue('work', '1', p_delay => '1 hour')
union all select 'silent', leasehold.enqueue('work', '1')
union all select 'blocked', leasehold.enqueue('work', '1');
with moved as (
  delete from leasehold.ready where job_id = (select job_id from job where name = 'blocked') returning *
)
insert into leasehold.blocked (job_id, queue_id, attempt, releases, failures, losses, priority)
select job_id, queue_id, attempt, releases, failures, losses, priority from moved;
select is(
  leasehold.cancel(job_id, 'no longer needed'), 'cancelled', format('cancel ends a %s job at once', name)
)
from job where name in ('ready', 'scheduled', 'blocked');
select leasehold.cancel(job_id) from job where name = 'silent';
select is(
  (select array_agg((info.state, info.reason, info.finished_at = leasehold._now())::text order by name)
    from job cross join lateral leasehold.job(job.job_id) as info),
  array[
    '(cancelled,"no longer needed",t)', '(cancelled,"no longer needed",t)', '(cancelled,"no longer needed",t)',
    '(cancelled,cancelled,t)'
  ],
  'a cancelled job says why and when'
);
select is_empty('select from leasehold._live', 'a cancelled job is in no position');
create temp table before on commit drop as select leasehold_test.state();
select is(
  leasehold.cancel(job_id, 'again'), 'already_cancelled', 'a repeat of cancel answers already_cancelled (G5)'
)
from job where name = 'ready';
select is(leasehold_test.state(), (table before), 'a repeat of cancel changes nothing: the first reason stays (G5)');
select leasehold.promote_due();
select is_empty('select leasehold.lease_jobs(array[''work''], gen_random_uuid(), 10)', 'nobody leases a cancelled job');

-- Leased: the holder is asked.
select leasehold_test.start('leased');
select is(leasehold.cancel(leasehold_test.job_id('leased'), 'first'), 'requested', 'cancel asks the holder of a leased job to stop');
select leasehold_test.advance('1 second');
select is(leasehold.cancel(leasehold_test.job_id('leased'), 'second'), 'requested', 'cancel may be repeated while the holder has not stopped (G5)');
select is(
  (select (cancel_reason, cancel_requested_at = leasehold._now() - interval '1 second')::text
    from leasehold.lease where job_id = leasehold_test.job_id('leased')),
  '(first,t)', 'the first reason and its time stay (G5)'
);
select is(
  (select (job.state, job.cancel_requested)::text from leasehold.job(leasehold_test.job_id('leased')) as job),
  '(leased,t)', 'job shows that a cancel is asked for'
);
select is(
  (leasehold.heartbeat(leasehold_test.job_id('leased'), leasehold_test.token('leased'))).cancel_requested,
  true, 'the holder learns of it with its next heartbeat'
);
select is(
  leasehold.reap_expired(), 0, 'a lease that is asked to cancel is not reaped before it expires'
);
select leasehold_test.reap();
select is(
  (select (job.state, job.reason, job.losses, job.history -> 0 ->> 'outcome')::text
    from leasehold.job(leasehold_test.job_id('leased')) as job),
  '(cancelled,first,0,cancelled)',
  'a job whose holder vanishes after a cancel is cancelled, and counts no loss'
);
select is(leasehold.cancel(leasehold_test.job_id('leased')), 'already_cancelled', 'cancel after that answers already_cancelled');
select is(
  (leasehold.fail(leasehold_test.job_id('leased'), leasehold_test.token('leased'))).status,
  'already_cancelled', 'the holder that comes late to fail hears that the job is cancelled (G5)'
);

-- Reaped: nobody works on it, so at once, and the old token is worth nothing (G4).
select leasehold_test.start('reaped');
select leasehold_test.reap();
select is(leasehold.cancel(leasehold_test.job_id('reaped')), 'cancelled', 'cancel ends a job at once whose lease was reaped');
select throws_ok(
  'select leasehold.heartbeat(leasehold_test.job_id(''reaped''), leasehold_test.token(''reaped''))', 'LH003', null,
  'cancel retires the token of a reaped lease (G4)'
);

-- Expired but not reaped: the holder may still be there.
select leasehold_test.start('expired');
select leasehold_test.lapse();
select is(leasehold.cancel(leasehold_test.job_id('expired')), 'requested', 'cancel asks the holder also when its lease has expired');

-- Finished.
select leasehold_test.start('completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select throws_ok(
  'select leasehold.cancel(leasehold_test.job_id(''completed''))', 'LH004',
  format('job %s is finished', leasehold_test.job_id('completed')),
  'cancel refuses a completed job'
);
select leasehold_test.start('dead');
select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
select throws_ok('select leasehold.cancel(leasehold_test.job_id(''dead''))', 'LH004', null, 'cancel refuses a dead job');
select is(leasehold_test.state_of('dead'), 'dead', 'a dead job stays dead');

-- Kept for no time.
select leasehold.create_queue('forgetful', p_keep_completed => '0');
select leasehold.enqueue('forgetful', '1') as job_id into temp table forgotten;
select is(leasehold.cancel(job_id), 'cancelled', 'cancel answers the same where the queue keeps no cancelled jobs') from forgotten;
select is(
  (select (cancelled, pruned)::text from leasehold.queue_stats('forgetful')), '(0,1)',
  'a cancelled job that leaves no row behind is counted as pruned (G1)'
);
select throws_ok('select leasehold.cancel(job_id) from forgotten', 'LH002', null, 'a repeat finds no job where none is kept');

-- Any text.
select leasehold.enqueue('work', '1') as job_id into temp table talkative;
select is(leasehold.cancel(job_id, repeat('x', 20000)), 'cancelled', 'cancel takes a reason of any length') from talkative;
select is(length((leasehold.job(job_id)).reason), 16384, 'cancel cuts the reason to 16384 characters') from talkative;
select leasehold_test.start('verbose');
select leasehold.cancel(leasehold_test.job_id('verbose'), repeat('x', 20000));
select is(
  length((leasehold.heartbeat(leasehold_test.job_id('verbose'), leasehold_test.token('verbose'))).cancel_reason), 16384,
  'cancel cuts the reason for a holder too'
);

-- Bad arguments.
select throws_ok('select leasehold.cancel(9223372036854775807)', 'LH002', null, 'cancel refuses a job that does not exist');
select throws_ok('select leasehold.cancel(null)', '22023', null, 'cancel refuses a null job id');
select leasehold.enqueue('work', '1') as job_id into temp table untouched;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.cancel(job_id) from untouched', 'LH007', null,
  'cancel refuses a read-only transaction'
);

select * from finish();
rollback;
