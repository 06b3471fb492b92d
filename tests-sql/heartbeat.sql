-- heartbeat: a worker keeps its job by moving the expiry, and learns when it may not.
begin;
select plan(49);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.beat(p_name text, p_extend interval default null, p_checkpoint jsonb default null)
  returns text
  language sql
as $$
  select (answer.status, answer.remaining, answer.cancel_requested, answer.cancel_reason)::text
  from leasehold.heartbeat(
    leasehold_test.job_id(p_name), leasehold_test.token(p_name), p_extend, p_checkpoint
  ) as answer
$$;

-- The ordinary case.
select leasehold_test.start('plain', '30 seconds');
delete from leasehold_test.woken;
select leasehold_test.advance('10 seconds');
select is(
  pg_temp.beat('plain'), '(ok,00:00:30,f,)',
  'heartbeat renews for the length asked for at lease time'
);
select is(
  (select (job.remaining, job.heartbeat_age)::text from leasehold.job(leasehold_test.job_id('plain')) as job),
  '(00:00:30,00:00:00)',
  'job shows the renewed lease and the fresh heartbeat'
);
select is(leasehold_test.woken(), '{}', 'heartbeat wakes nobody');
create temp table before on commit drop as select leasehold_test.state();
select is(pg_temp.beat('plain'), '(ok,00:00:30,f,)', 'heartbeat may be repeated (G5)');
select is(leasehold_test.state(), (table before), 'a heartbeat at the same instant changes nothing');
drop table before;
select is(
  (select token from leasehold.lease where job_id = leasehold_test.job_id('plain')),
  leasehold_test.token('plain'),
  'heartbeat leaves the token as it is (G7)'
);

-- How far.
select is(pg_temp.beat('plain', '2 hours'), '(ok,02:00:00,f,)', 'heartbeat extends by what is asked for');
select leasehold_test.advance('1 minute');
select is(pg_temp.beat('plain', '1 second'), '(ok,01:59:00,f,)', 'heartbeat never shortens a lease (G7)');
select is(pg_temp.beat('plain'), '(ok,01:59:00,f,)', 'heartbeat without a length never shortens a lease either (G7)');
select is(pg_temp.beat('plain', '1 day'), '(ok,"1 day",f,)', 'heartbeat extends by a day at most');

-- Late, but nobody was quicker (G4).
select leasehold_test.start('late');
select leasehold_test.lapse();
select is(
  pg_temp.beat('late'), '(revived,00:01:00,f,)',
  'heartbeat revives a lease that has expired (G4)'
);
select is(leasehold.reap_expired(), 0, 'the reaper leaves a revived lease alone');
select leasehold_test.start('exact');
select leasehold_test.advance('60 seconds');
select is(pg_temp.beat('exact'), '(revived,00:01:00,f,)', 'a lease has expired at the instant of its expiry');

select leasehold_test.start('reaped');
select leasehold_test.advance('10 seconds');
select pg_temp.beat('reaped');
create temp table before on commit drop as
select to_jsonb(lease) as lease from leasehold.lease as lease where job_id = leasehold_test.job_id('reaped');
select leasehold_test.reap();
select is(
  (select (job.state, job.losses, jsonb_array_length(job.history))::text
    from leasehold.job(leasehold_test.job_id('reaped')) as job),
  '(ready,1,1)',
  'a reaped job is ready with one loss'
);
select is(
  pg_temp.beat('reaped'), '(revived,00:01:00,f,)',
  'heartbeat takes back a lease that was reaped while nobody has leased the job since (G4)'
);
select is(
  (select to_jsonb(lease) - array['expires_at', 'heartbeat_at'] from leasehold.lease as lease
    where job_id = leasehold_test.job_id('reaped')),
  (select lease - array['expires_at', 'heartbeat_at'] || '{"request_id": null}' from before),
  'a lease that is taken back is as it was: same token, fence, attempt and counters'
);
select is(
  (select (job.state, job.losses, job.history)::text from leasehold.job(leasehold_test.job_id('reaped')) as job),
  '(leased,0,)',
  'the loss that the reaper counted is taken back'
);
select is_empty(
  'select leasehold.lease_jobs(array[''reaped''], gen_random_uuid())',
  'nobody can lease a job that was revived (G4)'
);
select is(pg_temp.beat('reaped'), '(ok,00:01:00,f,)', 'the next heartbeat finds the lease current');
select leasehold_test.reap();
select leasehold_test.take_over('second', 'reaped');
select is(
  (leasehold.job(leasehold_test.job_id('second'))).attempt, 2,
  'a lease that was revived and lapses again is taken over as attempt 2'
);

-- Any other token changes nothing and is told so (G3).
select leasehold_test.lose('lost');
create temp table thief on commit drop as
select lease.* from leasehold.lease as lease where job_id = leasehold_test.job_id('lost');
select throws_ok(
  $$select pg_temp.beat('lost', p_checkpoint => '"stale"')$$,
  'LH001', format('lease on job %s is lost', leasehold_test.job_id('lost')),
  'heartbeat refuses a token that is not the newest (G4)'
);
select results_eq(
  'select * from leasehold.lease where job_id = leasehold_test.job_id(''lost'')', 'table thief',
  'a stale heartbeat leaves the lease of the newest holder alone (G3)'
);
select is(
  (leasehold.job(leasehold_test.job_id('lost'))).checkpoint, null,
  'a stale heartbeat saves no checkpoint (G3)'
);
select leasehold_test.start('guessed');
select throws_ok(
  'select leasehold.heartbeat(leasehold_test.job_id(''guessed''), gen_random_uuid())', 'LH001', null,
  'heartbeat refuses a token that was never granted (G3)'
);
select throws_ok(
  'select leasehold.heartbeat(leasehold_test.job_id(''guessed''), leasehold_test.token(''thief of lost''))',
  'LH001', null, 'heartbeat refuses the token of another job (G3)'
);
select leasehold_test.start('failed');
select leasehold.fail(leasehold_test.job_id('failed'), leasehold_test.token('failed'), p_retry_in => '0');
select throws_ok(
  $$select pg_temp.beat('failed')$$, 'LH001', null, 'heartbeat refuses a token that fail has retired (G4)'
);
select leasehold_test.start('released');
select leasehold.release(leasehold_test.job_id('released'), leasehold_test.token('released'));
select throws_ok(
  $$select pg_temp.beat('released')$$, 'LH001', null, 'heartbeat refuses a token that release has retired (G4)'
);
select leasehold_test.start('completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select throws_ok(
  $$select pg_temp.beat('completed')$$, 'LH004', format('job %s is finished', leasehold_test.job_id('completed')),
  'heartbeat refuses a job that its holder has completed'
);
select leasehold_test.start('cancelled');
select leasehold_test.reap();
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select throws_ok(
  $$select pg_temp.beat('cancelled')$$, 'LH003', format('job %s is cancelled', leasehold_test.job_id('cancelled')),
  'heartbeat says that the job was cancelled after its lease was reaped'
);

-- A cancel comes up with the answer.
select leasehold_test.start('cancelling');
select leasehold.cancel(leasehold_test.job_id('cancelling'), 'no longer needed');
select is(
  pg_temp.beat('cancelling'), '(ok,00:01:00,t,"no longer needed")',
  'heartbeat renews and says that a cancel is asked for'
);

-- The checkpoint goes down with it.
select leasehold_test.start('saving');
select pg_temp.beat('saving', p_checkpoint => '{"done": 1}');
select is(
  (select (job.checkpoint, job.checkpoint_age)::text from leasehold.job(leasehold_test.job_id('saving')) as job),
  '("{""done"": 1}",00:00:00)',
  'heartbeat saves a checkpoint'
);
select leasehold_test.advance('1 second');
select pg_temp.beat('saving');
select is(
  (select (job.checkpoint, job.checkpoint_age)::text from leasehold.job(leasehold_test.job_id('saving')) as job),
  '("{""done"": 1}",00:00:01)',
  'heartbeat without a checkpoint leaves the last one'
);
select pg_temp.beat('saving', p_checkpoint => '{"done": 2}');
select leasehold_test.reap();
select is(
  (select (leased.attempt, leased.checkpoint)::text from leasehold.lease_jobs(array['saving'], gen_random_uuid()) as leased),
  '(2,"{""done"": 2}")',
  'the next attempt starts from the last checkpoint'
);
select leasehold_test.start('saving null');
select pg_temp.beat('saving null', p_checkpoint => 'null');
select is(
  (leasehold.job(leasehold_test.job_id('saving null'))).checkpoint, 'null',
  'heartbeat keeps a checkpoint that is JSON null'
);
select leasehold_test.start('saving much');
select lives_ok(
  $$select pg_temp.beat('saving much', p_checkpoint => to_jsonb(repeat('x', 1048574)))$$,
  'heartbeat takes a checkpoint of 1 MiB'
);
select throws_ok(
  $$select pg_temp.beat('saving much', p_checkpoint => to_jsonb(repeat('x', 1048575)))$$,
  'LH008', 'checkpoint must be at most 1048576 bytes, got 1048577',
  'heartbeat refuses a checkpoint of one byte more'
);

-- The longest runtime caps what renewals can do.
select leasehold.create_queue('capped', p_max_runtime => '90 seconds');
select leasehold_test.start('capped');
select leasehold_test.advance('50 seconds');
select is(pg_temp.beat('capped'), '(ok,00:01:00,f,)', 'heartbeat renews as usual within the longest runtime');
select leasehold_test.advance('50 seconds');
select is(
  pg_temp.beat('capped'), '(ok,00:00:50,f,)',
  'heartbeat renews until one lease length after the longest runtime and no further'
);
select is(
  pg_temp.beat('capped', '1 day'), '(ok,00:00:50,f,)',
  'heartbeat does not extend beyond the longest runtime however much is asked for'
);

-- Long leases are not capped by anything else.
select leasehold_test.start('long');
do $$
begin
  for v_beat in 1..200 loop
    perform leasehold_test.advance('59 seconds');
    perform leasehold.heartbeat(leasehold_test.job_id('long'), leasehold_test.token('long'));
  end loop;
end;
$$;
select is(
  (select (job.state, job.attempt, job.remaining)::text from leasehold.job(leasehold_test.job_id('long')) as job),
  '(leased,1,00:01:00)',
  'a lease without a longest runtime is renewed for ever (G7)'
);

-- Bad arguments.
select leasehold_test.start('current');
select throws_ok(
  'select leasehold.heartbeat(9223372036854775807, gen_random_uuid())', 'LH002', null,
  'heartbeat refuses a job that does not exist'
);
select throws_ok(
  'select leasehold.heartbeat(null, gen_random_uuid())', '22023', null, 'heartbeat refuses a null job id'
);
select throws_ok(
  'select leasehold.heartbeat(leasehold_test.job_id(''current''), null)', '22023', null,
  'heartbeat refuses a null token'
);
select throws_ok(
  format('select pg_temp.beat(''current'', %L)', span), '22023', null,
  format('heartbeat refuses to extend by %s', span)
)
from unnest(array['0', '-1 second', '999 milliseconds', '1 day 1 microsecond', '100 years']) as span;
select throws_ok(
  'set local transaction_read_only = on; select pg_temp.beat(''current'')', 'LH007', null,
  'heartbeat refuses a read-only transaction'
);

select * from finish();
rollback;
