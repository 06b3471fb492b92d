-- fail: the handler failed; the job waits for another try, or is dead when its failures are spent.
begin;
select plan(59);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.fail(
  p_name text, p_error text default null, p_retry_in interval default null, p_retryable boolean default true
)
  returns text
  language sql
as $$
  select (settlement.status, settlement.late, settlement.retry_in)::text
  from leasehold.fail(
    leasehold_test.job_id(p_name), leasehold_test.token(p_name), p_error, p_retry_in, p_retryable
  ) as settlement
$$;

-- The ordinary case.
select leasehold_test.start('plain');
delete from leasehold_test.woken;
select is(
  pg_temp.fail('plain', 'no route to host', '30 seconds'), '(failed,f,00:00:30)',
  'fail puts the job off by the delay it names'
);
select is(
  (select (job.state, job.failures, job.losses, job.releases, job.attempt, job.run_at - leasehold._now())::text
    from leasehold.job(leasehold_test.job_id('plain')) as job),
  '(scheduled,1,0,0,1,00:00:30)',
  'fail spends one failure and nothing else (G8)'
);
select is(
  (select job.history -> 0 from leasehold.job(leasehold_test.job_id('plain')) as job)
    - array['worker_id', 'leased_at', 'ended_at'],
  '{"attempt": 1, "outcome": "failed", "counted": true, "error": "no route to host"}',
  'the history keeps what went wrong'
);
select is(leasehold_test.woken(), '{}', 'fail wakes nobody');
create temp table before on commit drop as select leasehold_test.state();
select is(pg_temp.fail('plain', 'again', '1 hour'), '(already_failed,f,)', 'a repeat of fail answers already_failed (G5)');
select is(
  pg_temp.fail('plain', 'again', '1 hour', false), '(already_failed,f,)',
  'a repeat of fail does not change its mind about retrying (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat of fail changes nothing (G5)');
drop table before;
select is_empty('select leasehold.lease_jobs(array[''plain''], gen_random_uuid())', 'a job that was put off is not leased');
select leasehold_test.advance('30 seconds');
select leasehold.promote_due();
select leasehold_test.take_over('plain again', 'plain');
select is(
  (leasehold.job(leasehold_test.job_id('plain'))).attempt, 2, 'a job that was put off is leased once it is due'
);
select is(pg_temp.fail('plain'), '(already_failed,f,)', 'fail stays repeatable after the job was leased again (G5)');
select is(leasehold_test.state_of('plain'), 'leased', 'a stale repeat of fail leaves the new lease alone (G3)');

-- Without delay.
select leasehold_test.start('at once');
select is(pg_temp.fail('at once', null, '0'), '(failed,f,00:00:00)', 'fail with no delay makes the job ready at once');
select is(leasehold_test.state_of('at once'), 'ready', 'a job that failed without delay is ready');
select throws_ok(
  $$select leasehold.heartbeat(leasehold_test.job_id('at once'), leasehold_test.token('at once'))$$,
  'LH001', null, 'fail retires its token: a heartbeat cannot take the job back (G4)'
);

-- Backoff: exponential, full jitter, capped.
select leasehold.create_queue('backoff', p_backoff_base => '10 seconds', p_backoff_max => '35 seconds', p_max_failures => 1000000);
create temp table delays (failures integer, delay interval) on commit drop;
do $$
declare
  v_settlement leasehold.settlement;
begin
  perform leasehold.enqueue('backoff', '1') from generate_series(1, 200);
  for v_round in 1..5 loop
    insert into delays
    select v_round, settlement.retry_in
    from (
      select array_agg(job_id) as ids, array_agg(token) as tokens
      from leasehold.lease_jobs(array['backoff'], gen_random_uuid(), 1000)
    ) as leased
    cross join lateral leasehold.fail_many(leased.ids, leased.tokens) as settlement;
    perform leasehold_test.advance('1 minute');
    perform leasehold.promote_due();
  end loop;
end;
$$;
select is(
  (select array_agg(highest order by failures) from (
    select failures, bool_and(delay >= '0') and max(delay) <= least('35 seconds', '10 seconds'::interval * 2 ^ (failures - 1))
      and max(delay) > 0.8 * least('35 seconds', '10 seconds'::interval * 2 ^ (failures - 1)) as highest
    from delays group by failures
  ) as round),
  array[true, true, true, true, true],
  'the delay after failure n is random up to base * 2^(n-1), and no longer than the maximum'
);
select ok(
  (select min(delay) < '4 seconds' and count(distinct delay) > 150 from delays where failures = 5),
  'the delay has full jitter: it may be next to nothing however often the job has failed'
);
select is(
  (leasehold._backoff('1 second', '1 hour', 2147483647) between interval '0' and interval '1 hour'), true,
  'the delay stays within its maximum after two thousand million failures'
);
select is(
  leasehold._backoff('1 year', '1 year', 1000) <= interval '1 year', true,
  'the delay does not overflow with the longest base'
);
select leasehold.create_queue('no backoff', p_backoff_base => '0', p_backoff_max => '0');
select leasehold_test.start('no backoff');
select is(pg_temp.fail('no backoff'), '(failed,f,00:00:00)', 'a queue without backoff retries at once');

-- The failure budget (G8).
select leasehold.create_queue('budget', p_max_failures => 3);
select leasehold_test.start('budget');
select pg_temp.fail('budget', 'one', '0');
select leasehold_test.take_over('budget 2', 'budget');
select pg_temp.fail('budget 2', 'two', '0');
select leasehold_test.take_over('budget 3', 'budget');
select is(pg_temp.fail('budget 3', 'three', '0'), '(dead,f,)', 'the failure that spends the budget makes the job dead (G8)');
select is(
  (select (job.state, job.reason, job.failures, job.attempt, jsonb_array_length(job.history), job.payload)::text
    from leasehold.job(leasehold_test.job_id('budget')) as job),
  '(dead,max_failures_exceeded,3,3,3,"""budget""")',
  'a dead job keeps its reason, its payload and every attempt'
);
select is(pg_temp.fail('budget 3'), '(already_dead,f,)', 'a repeat of the last failure answers already_dead (G5)');
select is(pg_temp.fail('budget 2'), '(already_failed,f,)', 'a repeat of an earlier failure answers already_failed (G5)');
select leasehold.create_queue('overran', p_max_failures => 1);
select leasehold_test.start('overran');
select pg_temp.fail('overran', 'max_runtime_exceeded');
select is(
  (select job.reason from leasehold.job(leasehold_test.job_id('overran')) as job), 'max_runtime_exceeded',
  'a job that a scheduler stopped for its longest runtime is dead for the same reason as one that was reaped'
);
select leasehold.create_queue('own budget');
select leasehold.enqueue('own budget', '1', p_max_failures => 1);
select leasehold_test.take_over('own budget', 'own budget');
select is(pg_temp.fail('own budget'), '(dead,f,)', 'a job''s own budget comes before its queue''s');
select leasehold.create_queue('changed budget');
select leasehold_test.start('changed budget');
select leasehold.create_queue('changed budget', p_max_failures => 1);
select is(pg_temp.fail('changed budget'), '(dead,f,)', 'a job without a budget follows its queue when that changes');

-- Not retryable.
select leasehold_test.start('hopeless');
select is(pg_temp.fail('hopeless', 'bad input', '1 hour', false), '(dead,f,)', 'a failure that is not retryable makes the job dead');
select is(
  (select (job.state, job.reason, job.failures)::text from leasehold.job(leasehold_test.job_id('hopeless')) as job),
  '(dead,not_retryable,1)', 'the dead job says why'
);
select leasehold_test.start('unsaid');
select is(pg_temp.fail('unsaid', 'x', '1 hour', null), '(failed,f,01:00:00)', 'fail retries where it is not said whether to');

-- A cancel that was asked for.
select leasehold_test.start('cancelling');
select leasehold.cancel(leasehold_test.job_id('cancelling'), 'enough');
select is(pg_temp.fail('cancelling', 'aborted'), '(cancelled,f,)', 'fail ends a job whose cancel was asked for');
select is(
  (select (job.state, job.reason, job.failures, job.history -> 0 ->> 'error', job.history -> 0 ->> 'outcome')::text
    from leasehold.job(leasehold_test.job_id('cancelling')) as job),
  '(cancelled,enough,0,aborted,cancelled)',
  'a cancelled job spends no failure, and keeps both reasons'
);
select is(pg_temp.fail('cancelling'), '(already_cancelled,f,)', 'a repeat answers already_cancelled (G5)');

-- Late (G4).
select leasehold_test.start('late');
select leasehold_test.lapse();
select is(pg_temp.fail('late', null, '5 seconds'), '(failed,t,00:00:05)', 'fail accepts a lease that has expired and says late (G4)');
select leasehold_test.start('reaped');
select leasehold_test.reap();
select is(
  pg_temp.fail('reaped', 'late', '5 seconds'), '(failed,t,00:00:05)',
  'fail accepts a lease that was reaped while nobody has leased the job since (G4)'
);
select is(
  (select (job.state, job.failures, job.losses, jsonb_array_length(job.history), job.history -> 0 ->> 'outcome')::text
    from leasehold.job(leasehold_test.job_id('reaped')) as job),
  '(scheduled,1,0,1,failed)',
  'a late failure counts as a failure, not as a loss'
);

-- Any other token changes nothing (G3).
select leasehold_test.lose('lost');
create temp table before on commit drop as select leasehold_test.state();
select throws_ok(
  $$select pg_temp.fail('lost')$$, 'LH001', format('lease on job %s is lost', leasehold_test.job_id('lost')),
  'fail refuses a token once another worker has leased the job (G4)'
);
select throws_ok(
  'select leasehold.fail(leasehold_test.job_id(''lost''), gen_random_uuid())', 'LH001', null,
  'fail refuses a token that was never granted (G3)'
);
select throws_ok(
  'select leasehold.fail(leasehold_test.job_id(''lost''), leasehold_test.token(''plain again''))', 'LH001', null,
  'fail refuses the token of another job (G3)'
);
select is(leasehold_test.state(), (table before), 'a stale fail changes no row (G3)');
select leasehold_test.start('completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'), '"done"');
select is(pg_temp.fail('completed', 'too late'), '(already_completed,f,)', 'fail after complete answers already_completed (G5)');
select is(leasehold_test.state_of('completed'), 'completed', 'fail after complete changes nothing (G5)');
select leasehold_test.start('released');
select leasehold.release(leasehold_test.job_id('released'), leasehold_test.token('released'));
select is(pg_temp.fail('released'), '(already_released,f,)', 'fail after release answers already_released (G5)');
select leasehold.create_queue('poison', p_max_losses => 1);
select leasehold_test.start('poison');
-- The second time the loss that is the last is final.
select leasehold_test.reap();
select leasehold_test.reap();
select throws_ok($$select pg_temp.fail('poison')$$, 'LH004', null, 'fail refuses a job that the reaper has made dead');
select leasehold_test.start('reaped and cancelled');
select leasehold_test.reap();
select leasehold.cancel(leasehold_test.job_id('reaped and cancelled'));
select throws_ok(
  $$select pg_temp.fail('reaped and cancelled')$$, 'LH003', null,
  'fail refuses a job that was cancelled after its lease was reaped'
);

-- Total: no error text makes it fail.
select leasehold_test.start('long text');
select lives_ok($$select pg_temp.fail('long text', repeat('x', 100000000))$$, 'fail takes an error text of 100 MB');
select is(
  (select length(job.history -> 0 ->> 'error') from leasehold.job(leasehold_test.job_id('long text')) as job), 16384,
  'fail cuts the error text to 16384 characters'
);
select leasehold_test.start('odd text');
select lives_ok(
  format('select pg_temp.fail(''odd text'', %L, ''0'', false)', E'\u0001\u0007\r\n\t\x1b[31m %s %I $1 $$ \\ '' " \u202e\u200b\U0010ffff'),
  'fail takes control characters, quotes and escapes'
);
select is(
  (leasehold.job(leasehold_test.job_id('odd text'))).history -> 0 ->> 'error',
  E'\u0001\u0007\r\n\t\x1b[31m %s %I $1 $$ \\ '' " \u202e\u200b\U0010ffff',
  'fail keeps an odd error text as it is'
);
select leasehold_test.start('no text');
select lives_ok($$select pg_temp.fail('no text', '')$$, 'fail takes an empty error text');

-- Kept for no time.
select leasehold.create_queue('forgetful', p_keep_dead => '0', p_max_failures => 2);
select leasehold_test.start('forgetful');
select pg_temp.fail('forgetful', 'x', '0');
select leasehold_test.take_over('forgetful 2', 'forgetful');
select is(pg_temp.fail('forgetful 2'), '(dead,f,)', 'fail answers the same where the queue keeps no dead jobs');
select is(
  (select count(*)::integer from (
    select job_id from leasehold.job
    union all select job_id from leasehold._live
    union all select job_id from leasehold.finished
    union all select job_id from leasehold.attempt
  ) as trace where job_id = leasehold_test.job_id('forgetful')),
  0,
  'a queue that keeps dead jobs for no time has no row of them left'
);
select is((select (dead, pruned)::text from leasehold.queue_stats('forgetful')), '(0,1)', 'the job is counted as pruned (G1)');

-- Bad arguments.
select leasehold_test.start('current');
select throws_ok('select leasehold.fail(9223372036854775807, gen_random_uuid())', 'LH002', null, 'fail refuses a job that does not exist');
select throws_ok('select leasehold.fail(null, gen_random_uuid())', '22023', null, 'fail refuses a null job id');
select throws_ok('select leasehold.fail(leasehold_test.job_id(''current''), null)', '22023', null, 'fail refuses a null token');
select throws_ok(
  format('select pg_temp.fail(''current'', ''x'', %L)', span), '22023', null, format('fail refuses to retry in %s', span)
)
from unnest(array['-1 second', '3660 days 1 second']) as span;
select throws_ok(
  'set local transaction_read_only = on; select pg_temp.fail(''current'')', 'LH007', null,
  'fail refuses a read-only transaction'
);
select is(leasehold_test.state_of('current'), 'leased', 'a call that is refused leaves the lease alone');

select * from finish();
rollback;
