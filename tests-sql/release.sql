-- release: a worker hands a job back that it cannot finish, free of charge.
begin;
select plan(37);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.release(p_name text, p_delay interval default '0')
  returns text
  language sql
as $$
  select (settlement.status, settlement.late, settlement.retry_in)::text
  from leasehold.release(leasehold_test.job_id(p_name), leasehold_test.token(p_name), p_delay) as settlement
$$;

-- The ordinary case.
select leasehold_test.start('plain');
select leasehold.enqueue('plain', '"younger"');
delete from leasehold_test.woken;
select is(pg_temp.release('plain'), '(released,f,00:00:00)', 'release makes the job ready at once');
select is(
  (select (job.state, job.failures, job.losses, job.releases, job.attempt)::text
    from leasehold.job(leasehold_test.job_id('plain')) as job),
  '(ready,0,0,1,1)',
  'release spends neither a failure nor a loss (G8)'
);
select is(leasehold_test.woken(), array['plain'], 'release wakes those who could take the job');
select is(
  (select (job.history -> 0) - array['worker_id', 'leased_at', 'ended_at'] from leasehold.job(leasehold_test.job_id('plain')) as job),
  '{"attempt": 1, "outcome": "released", "counted": false, "error": null}',
  'the history keeps that the job was released'
);
create temp table before on commit drop as select leasehold_test.state();
select is(pg_temp.release('plain', '1 hour'), '(already_released,f,)', 'a repeat of release answers already_released (G5)');
select is(leasehold_test.state(), (table before), 'a repeat of release changes nothing (G5)');
drop table before;
select throws_ok(
  $$select leasehold.heartbeat(leasehold_test.job_id('plain'), leasehold_test.token('plain'))$$, 'LH001', null,
  'release retires its token: a heartbeat cannot take the job back (G4)'
);
select leasehold_test.take_over('plain again', 'plain');
select is(
  leasehold_test.job_id('plain again'), leasehold_test.job_id('plain'),
  'a released job keeps its place in line'
);
select is(pg_temp.release('plain'), '(already_released,f,)', 'release stays repeatable after the job was leased again (G5)');
select is(leasehold_test.state_of('plain'), 'leased', 'a stale repeat of release leaves the new lease alone (G3)');

-- With a delay.
select leasehold_test.start('later');
delete from leasehold_test.woken;
select is(pg_temp.release('later', '90 seconds'), '(released,f,00:01:30)', 'release with a delay puts the job off');
select is(
  (select (job.state, job.releases, job.run_at - leasehold._now())::text from leasehold.job(leasehold_test.job_id('later')) as job),
  '(scheduled,1,00:01:30)', 'the job waits for its delay'
);
select is(leasehold_test.woken(), '{}', 'release with a delay wakes nobody');

-- Deploys never kill a job (G8, C52).
select leasehold.create_queue('deploys', p_max_failures => 1, p_max_losses => 1);
select leasehold.enqueue('deploys', '1');
do $$
begin
  for v_deploy in 1..50 loop
    perform leasehold.release(leased.job_id, leased.token)
    from leasehold.lease_jobs(array['deploys'], gen_random_uuid()) as leased;
  end loop;
end;
$$;
select is(
  (select (job.state, job.failures, job.losses, job.releases, job.attempt)::text from leasehold.peek('deploys') as job),
  '(ready,0,0,50,50)', 'fifty releases neither fail nor kill a job (G8)'
);

-- A cancel that was asked for.
select leasehold_test.start('cancelling');
select leasehold.cancel(leasehold_test.job_id('cancelling'), 'enough');
delete from leasehold_test.woken;
select is(pg_temp.release('cancelling', '1 hour'), '(cancelled,f,)', 'release ends a job whose cancel was asked for');
select is(
  (select (job.state, job.reason)::text from leasehold.job(leasehold_test.job_id('cancelling')) as job),
  '(cancelled,enough)', 'the cancelled job says why'
);
select is(leasehold_test.woken(), '{}', 'nobody is woken for a job that is cancelled');
select is(pg_temp.release('cancelling'), '(already_cancelled,f,)', 'a repeat answers already_cancelled (G5)');

-- Late (G4).
select leasehold_test.start('late');
select leasehold_test.lapse();
select is(pg_temp.release('late'), '(released,t,00:00:00)', 'release accepts a lease that has expired and says late (G4)');
select leasehold_test.start('reaped');
select leasehold_test.reap();
select is(pg_temp.release('reaped'), '(released,t,00:00:00)', 'release accepts a lease that was reaped while nobody has leased the job since (G4)');
select is(
  (select (job.losses, job.releases, jsonb_array_length(job.history), job.history -> 0 ->> 'outcome')::text
    from leasehold.job(leasehold_test.job_id('reaped')) as job),
  '(0,1,1,released)', 'a late release takes the loss back that the reaper counted'
);

-- Any other token changes nothing (G3).
select leasehold_test.lose('lost');
create temp table before on commit drop as select leasehold_test.state();
select throws_ok(
  $$select pg_temp.release('lost')$$, 'LH001', format('lease on job %s is lost', leasehold_test.job_id('lost')),
  'release refuses a token once another worker has leased the job (G4)'
);
select throws_ok(
  'select leasehold.release(leasehold_test.job_id(''lost''), gen_random_uuid())', 'LH001', null,
  'release refuses a token that was never granted (G3)'
);
select throws_ok(
  'select leasehold.release(leasehold_test.job_id(''lost''), leasehold_test.token(''plain again''))', 'LH001', null,
  'release refuses the token of another job (G3)'
);
select is(leasehold_test.state(), (table before), 'a stale release changes no row (G3)');
select leasehold_test.start('completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select is(pg_temp.release('completed'), '(already_completed,f,)', 'release after complete answers already_completed (G5)');
select leasehold_test.start('failed');
select leasehold.fail(leasehold_test.job_id('failed'), leasehold_test.token('failed'));
select is(pg_temp.release('failed'), '(already_failed,f,)', 'release after fail answers already_failed (G5)');
select leasehold.create_queue('poison', p_max_losses => 1);
select leasehold_test.start('poison');
-- The second time the loss that is the last is final.
select leasehold_test.reap();
select leasehold_test.reap();
select throws_ok($$select pg_temp.release('poison')$$, 'LH004', null, 'release refuses a job that the reaper has made dead');
select leasehold_test.start('reaped and cancelled');
select leasehold_test.reap();
select leasehold.cancel(leasehold_test.job_id('reaped and cancelled'));
select throws_ok(
  $$select pg_temp.release('reaped and cancelled')$$, 'LH003', null,
  'release refuses a job that was cancelled after its lease was reaped'
);

-- Bad arguments.
select leasehold_test.start('current');
select throws_ok('select leasehold.release(9223372036854775807, gen_random_uuid())', 'LH002', null, 'release refuses a job that does not exist');
select throws_ok('select leasehold.release(null, gen_random_uuid())', '22023', null, 'release refuses a null job id');
select throws_ok('select leasehold.release(leasehold_test.job_id(''current''), null)', '22023', null, 'release refuses a null token');
select throws_ok($$select pg_temp.release('current', null)$$, '22023', null, 'release refuses a null delay');
select throws_ok(
  format('select pg_temp.release(''current'', %L)', span), '22023', null, format('release refuses a delay of %s', span)
)
from unnest(array['-1 second', '3660 days 1 second']) as span;
select throws_ok(
  'set local transaction_read_only = on; select pg_temp.release(''current'')', 'LH007', null,
  'release refuses a read-only transaction'
);
select is(leasehold_test.state_of('current'), 'leased', 'a call that is refused leaves the lease alone');

select * from finish();
rollback;
