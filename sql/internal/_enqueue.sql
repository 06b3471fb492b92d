-- The way in for jobs with options. Checks every job before it writes the first; returns ids in the order given.
create or replace function leasehold._enqueue(
  p_queue text,
  p_jobs leasehold._new_job[]
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
  v_now timestamptz;
  v_problem text;
  v_bytes integer;
  v_are_keyed boolean;
  v_line bigint;
  v_fresh_ids bigint[];
  v_job_ids bigint[];
  v_ready integer;
begin
  perform leasehold._require_writable();
  v_queue := leasehold._queue(p_queue);

  -- All that must be known of all jobs, in one pass.
  select
    (array_agg(problem.text order by job.ordinality) filter (where problem.text is not null))[1],
    max(greatest(octet_length(job.payload::text), octet_length(job.headers::text))),
    bool_or(job.dedup_key is not null)
  into v_problem, v_bytes, v_are_keyed
  from unnest(p_jobs) with ordinality as job
  cross join lateral (
    select case
      when job.payload is null then 'payload must not be null'
      when jsonb_typeof(job.headers) <> 'object' then 'headers must be an object'
      when (job.priority between 0 and 9) is not true
        then 'priority must be between 0 and 9, got ' || coalesce(job.priority::text, 'null')
      when job.run_at is not null and job.delay is not null then 'run_at and delay exclude each other'
      when isfinite(job.run_at) is false then 'run_at must be finite, got ' || job.run_at
      when (job.delay between interval '0' and interval '3660 days') is false
        then 'delay must be between 0 and 3660 days, got ' || job.delay
      when (octet_length(job.dedup_key) between 1 and 255) is false
        then 'dedup key must have 1 to 255 bytes, got ' || octet_length(job.dedup_key)
      when job.dedup_key is not null
        and (job.dedup_window between interval '0' and interval '366 days') is not true
        then 'dedup window must be between 0 and 366 days, got ' || coalesce(job.dedup_window::text, 'null')
      when (job.max_failures between 1 and 1000000) is false
        then 'max failures must be between 1 and 1000000, got ' || job.max_failures
      when (job.max_losses between 1 and 1000000) is false
        then 'max losses must be between 1 and 1000000, got ' || job.max_losses
      when (job.max_runtime between interval '1 second' and interval '366 days') is false
        then 'max runtime must be between 1 second and 366 days, got ' || job.max_runtime
      when (job.time_to_live between interval '1 second' and interval '3660 days') is false
        then 'time to live must be between 1 second and 3660 days, got ' || job.time_to_live
    end as text
  ) as problem;
  if v_problem is not null then
    raise exception '%', v_problem using errcode = 'invalid_parameter_value';
  end if;

  perform leasehold._require_size(v_queue, v_bytes);

  v_now := leasehold._now();

  select array_agg(nextval('leasehold.job_job_id_seq')) into v_fresh_ids
  from generate_series(1, cardinality(p_jobs));
  v_line := leasehold._claim_ids(v_queue.queue_id, v_fresh_ids);
  v_job_ids := v_fresh_ids;
  if v_are_keyed then
    v_job_ids := leasehold._deduplicate(v_queue.queue_id, p_jobs, v_fresh_ids, v_now);
  end if;

  with item as materialized (
    select
      job.*,
      v_job_ids[ordinality] as job_id,
      coalesce(job.run_at, v_now + leasehold._hours(job.delay), v_now) as due_at,
      greatest(v_now, coalesce(job.run_at, v_now + leasehold._hours(job.delay), v_now))
        + coalesce(leasehold._hours(job.time_to_live), v_queue.time_to_live) as live_until
    from unnest(p_jobs) with ordinality as job
    where v_job_ids[ordinality] = v_fresh_ids[ordinality]
  ), written as (
    insert into leasehold.job (
      job_id, enqueued_at, queue_id, priority, bytes, max_failures, max_losses, max_runtime,
      payload, headers, dedup_key
    )
    overriding system value
    select
      item.job_id, v_now, v_queue.queue_id, item.priority,
      case when v_bytes >= 128 then
        octet_length(item.payload::text) + coalesce(octet_length(item.headers::text), 0)
      end,
      item.max_failures, item.max_losses,
      leasehold._hours(item.max_runtime), item.payload, item.headers, item.dedup_key
    from item
  ), later as (
    insert into leasehold.scheduled (
      job_id, run_at, live_until, queue_id, attempt, releases, failures, losses, priority
    )
    select item.job_id, item.due_at, item.live_until, v_queue.queue_id, 0, 0, 0, 0, item.priority
    from item
    where item.due_at > v_now
  )
  insert into leasehold.ready (
    job_id, live_until, queue_id, attempt, releases, failures, losses, priority, returned
  )
  select
    item.job_id, item.live_until, v_queue.queue_id, 0, 0, 0, 0, item.priority,
    item.job_id < v_line
  from item
  where item.due_at <= v_now;

  get diagnostics v_ready = row_count;
  if v_ready > 0 then
    perform leasehold._wake(v_queue.queue_id, v_ready, v_queue.waiting_slots);
  end if;
  return v_job_ids;
end;
$$;
