-- job: everything about one job, wherever it is.
begin;
select plan(18);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold.create_queue('work');

select leasehold.enqueue(
  'work', '{"n": 1}', 3, p_headers => '{"h": 1}', p_dedup_key => 'k', p_time_to_live => '1 day'
) as job_id into temp table ready;
select is(
  (select to_jsonb(job) from leasehold.job((table ready)) as job) - array['job_id', 'enqueued_at', 'live_until'],
  '{
    "queue": "work", "state": "ready", "priority": 3, "generation": 1, "attempt": 0, "failures": 0, "losses": 0, "releases": 0,
    "payload": {"n": 1}, "headers": {"h": 1}, "dedup_key": "k", "run_at": null, "worker_id": null, "host": null, "pid": null,
    "leased_at": null, "remaining": null, "heartbeat_age": null, "cancel_requested": false, "checkpoint": null,
    "checkpoint_age": null, "finished_at": null, "reason": null, "result": null, "late": null, "history": null
  }'::jsonb,
  'job shows all of a ready job'
);

select leasehold_test.start('leased');
select leasehold.register_worker(leasehold_test.worker_id('leased'), array['leased'], p_host => 'build-1', p_pid => 42);
select leasehold.heartbeat(leasehold_test.job_id('leased'), leasehold_test.token('leased'), p_checkpoint => '{"at": 9}');
select leasehold_test.advance('15 seconds');
select is(
  (select (state, attempt, worker_id = leasehold_test.worker_id('leased'), host, pid, remaining, heartbeat_age, checkpoint, checkpoint_age,
      leasehold._now() - leased_at)::text from leasehold.job(leasehold_test.job_id('leased'))),
  '(leased,1,t,build-1,42,00:00:45,00:00:15,"{""at"": 9}",00:00:15,00:00:15)',
  'job shows the holder, what remains of the lease, the age of its heartbeat and the checkpoint'
);
select leasehold_test.advance('1 minute');
select is((leasehold.job(leasehold_test.job_id('leased'))).remaining, '-15 seconds', 'what remains of an expired lease is negative');
select is(
  position(leasehold_test.token('leased')::text in leasehold.job(leasehold_test.job_id('leased'))::text), 0,
  'job never shows a token'
);
select leasehold.fail(leasehold_test.job_id('leased'), leasehold_test.token('leased'), 'one', '0');
select leasehold_test.take_over('leased 2', 'leased');
select leasehold.release(leasehold_test.job_id('leased 2'), leasehold_test.token('leased 2'));
select leasehold_test.take_over('leased 3', 'leased');
select leasehold_test.lapse();
select leasehold_test.reap();
select leasehold_test.take_over('leased 4', 'leased');
select leasehold.complete(leasehold_test.job_id('leased 4'), leasehold_test.token('leased 4'), '"done"');
select is(
  (select (state, attempt, failures, losses, releases, result, late, remaining, heartbeat_age, worker_id = leasehold_test.worker_id('leased 4'))::text
    from leasehold.job(leasehold_test.job_id('leased'))),
  '(completed,4,1,1,1,"""done""",f,,,t)', 'job shows what a completed job has spent, its result and who completed it'
);
select is(
  (select array_agg((entry ->> 'attempt') || ' ' || (entry ->> 'outcome') || ' ' || (entry ->> 'counted')) from leasehold.job(leasehold_test.job_id('leased')) as job
    cross join lateral jsonb_array_elements(job.history) as entry),
  array['1 failed true', '2 released false', '3 expired true'],
  'the history lists every attempt that did not end in success, oldest first'
);
select is(
  position(leasehold_test.token('leased 3')::text in leasehold.job(leasehold_test.job_id('leased'))::text), 0,
  'the history shows no token either'
);

-- A long history comes in pages.
select leasehold_test.start('long');
insert into leasehold.attempt (
  job_id, fence, leased_at, heartbeat_at, expires_at, ended_at, token, worker_id, duration, attempt, counted, outcome, error
)
select leasehold_test.job_id('long'), n, leasehold._now(), leasehold._now(), leasehold._now(), leasehold._now(), gen_random_uuid(),
  gen_random_uuid(), '1 minute', n, false, 'released', repeat('x', 2000)
from generate_series(1, 250) as n;
create function pg_temp.page(p_job leasehold.job_info)
  returns text
  language sql
as $$
  select count(*) || ' from ' || coalesce(min((entry ->> 'attempt')::integer), 0) || ' to ' || coalesce(max((entry ->> 'attempt')::integer), 0)
    || ', ' || coalesce(max(length(entry ->> 'error')), 0)
  from jsonb_array_elements(p_job.history) as entry
$$;
select is(pg_temp.page(leasehold.job(leasehold_test.job_id('long'))), '100 from 151 to 250, 2000', 'S25 job shows the newest 100 entries of a history');
select is(pg_temp.page(leasehold.job(leasehold_test.job_id('long'), 151)), '100 from 51 to 150, 2000', 'S25 and the page before, if it is asked for');
select is(pg_temp.page(leasehold.job(leasehold_test.job_id('long'), 51)), '50 from 1 to 50, 2000', 'S25 the first page is what is left');
select is((leasehold.job(leasehold_test.job_id('long'), 1)).history, null, 'S25 before which there is nothing');
select is(
  (select pg_temp.page(peeked) from leasehold.peek('long', 'leased') as peeked), '10 from 241 to 250, 1000', 'S25 peek shows ten entries, with their errors cut'
);

create temp table before on commit drop as select leasehold_test.state();
select leasehold.job((table ready));
select is(leasehold_test.state(), (table before), 'job changes nothing');
select throws_ok('select leasehold.job(9223372036854775807)', 'LH002', 'job 9223372036854775807 does not exist', 'job refuses a job that does not exist');
select throws_ok('select leasehold.job(0)', 'LH002', null, 'job refuses the id zero');
select throws_ok('select leasehold.job(-9223372036854775808)', 'LH002', null, 'job refuses the lowest id there can be');
select throws_ok('select leasehold.job(null)', '22023', null, 'job refuses a null id');
set local transaction_read_only = on;
select is((leasehold.job((table ready))).state, 'ready', 'job works in a read-only transaction');

select * from finish();
rollback;
