-- spans: a day is 24 hours, for every function that takes one and in every session.
begin;
select plan(26);
select leasehold_test.record_wakes();

-- One function a kind of span: what became of a day that begins half an hour before the clocks change.
create temp table outcome (zone text, what text, lasts interval);

create function pg_temp.try_all(p_zone text, p_now timestamptz)
  returns void
  language plpgsql
as $$
declare
  v_job record;
  v_id bigint;
  v_queue text := 'in ' || p_zone;
begin
  perform set_config('TimeZone', p_zone, true);
  perform leasehold_test.set_now(p_now);
  perform leasehold.create_queue(
    v_queue, p_lease => '1 day', p_max_runtime => '2 days', p_time_to_live => '3 days', p_keep_completed => '1 day',
    p_keep_dead => '6 months', p_backoff_base => '0', p_backoff_max => '0'
  );
  v_id := leasehold.enqueue(v_queue, '1');
  insert into outcome
  select p_zone, 'time to live of the queue', ready.live_until - p_now
  from leasehold.ready as ready where ready.job_id = v_id;
  select leased.* into v_job from leasehold.lease_jobs(array[v_queue], gen_random_uuid()) as leased;
  insert into outcome
  select p_zone, unnest(array['lease of the queue', 'runtime of the queue']),
    unnest(array[lease.expires_at, lease.runs_until]) - p_now
  from leasehold.lease as lease where lease.job_id = v_job.job_id;
  perform leasehold.release(v_job.job_id, v_job.token, '1 day');
  insert into outcome
  select p_zone, 'delay of a release', scheduled.run_at - p_now
  from leasehold.scheduled as scheduled where scheduled.job_id = v_job.job_id;

  v_id := leasehold.enqueue(v_queue, '1', p_max_runtime => '1 day', p_time_to_live => '1 day');
  insert into outcome
  select p_zone, 'time to live of the job', ready.live_until - p_now
  from leasehold.ready as ready where ready.job_id = v_id;
  select leased.* into v_job from leasehold.lease_jobs(array[v_queue], gen_random_uuid(), 1, '1 minute') as leased;
  perform leasehold.heartbeat(v_job.job_id, v_job.token, '1 day');
  insert into outcome
  select p_zone, unnest(array['extension', 'runtime of the job']),
    unnest(array[lease.expires_at, lease.runs_until]) - p_now
  from leasehold.lease as lease where lease.job_id = v_job.job_id;
  perform leasehold.fail(v_job.job_id, v_job.token, 'no', '1 day');
  insert into outcome
  select p_zone, 'delay of a retry', scheduled.run_at - p_now
  from leasehold.scheduled as scheduled where scheduled.job_id = v_job.job_id;

  v_id := leasehold.enqueue(v_queue, '1', p_delay => '1 day', p_dedup_key => p_zone, p_dedup_window => '1 day');
  insert into outcome
  select p_zone, 'delay of the job', scheduled.run_at - p_now
  from leasehold.scheduled as scheduled where scheduled.job_id = v_id;
  insert into outcome
  select p_zone, 'window of a key', dedup.expires_at - p_now
  from leasehold.dedup as dedup where dedup.job_id = v_id;
  v_id := (leasehold.enqueue_many(v_queue, '[{"payload": 1, "delay": "P1D"}]'))[1];
  insert into outcome
  select p_zone, 'delay of one of many', scheduled.run_at - p_now
  from leasehold.scheduled as scheduled where scheduled.job_id = v_id;
end;
$$;

select pg_temp.try_all('America/New_York', '2030-03-09 23:30-05');
select pg_temp.try_all('Australia/Lord_Howe', '2030-04-06 12:00+11');
set local timezone = 'UTC';

select is(lasts, case
    when what ~ 'of the queue' and what ~ 'runtime' then interval '48 hours'
    when what ~ 'time to live of the queue' then interval '72 hours'
    else interval '24 hours'
  end, 'S19 a day is 24 hours where the clocks change: ' || what || ', ' || zone)
from outcome;

select is_empty(
  $$select queue.name, setting.value
    from leasehold.queue as queue
    cross join lateral jsonb_each_text(to_jsonb(queue)) as setting
    where setting.value ~ 'day|mon|year'
      and setting.key in ('lease_duration', 'backoff_base', 'backoff_max', 'max_runtime', 'time_to_live', 'keep_completed', 'keep_dead')$$,
  'S19 no queue has a span of days, whatever it was created with'
);
select is(
  (select extract(epoch from keep_dead) / 86400 from leasehold.queue where name = 'in America/New_York'), 180::numeric,
  'S19 six months of retention are 180 days'
);
select results_eq(
  $$select span, leasehold._hours(span) from (values
      (interval '1 mon -29 days'), ('1 day -1 hour'), ('1 year'), (null)) as given (span)$$,
  $$values (interval '1 mon -29 days', interval '24 hours'), ('1 day -1 hour', '23 hours'), ('1 year', '8766 hours'), (null, null)$$,
  'S19 a span of several signs is the one it amounts to'
);
select is_empty(
  $$select proc.proname, match[1]
    from pg_proc as proc
    cross join lateral regexp_matches(proc.prosrc, '([-+] interval ''[^'']*(?:day|month|year)s?'')', 'g') as match
    where proc.pronamespace = 'leasehold'::regnamespace$$,
  'S19 no body adds days to an instant'
);
select * from finish();
rollback;
