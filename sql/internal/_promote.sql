-- Makes scheduled jobs ready whose time has come: the longest due up to a limit, or one job alone.
create or replace function leasehold._promote(
  p_limit integer,
  p_job_id bigint default null
)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := leasehold._now();
  v_queue_ids integer[];
begin
  with due as (
    -- Rows of scheduled are never updated, so the address that is locked is the row.
    delete from leasehold.scheduled as scheduled
    where scheduled.ctid = any (array(
      select due.ctid
      from leasehold.scheduled as due
      where p_job_id is null
        and due.run_at <= v_now
      order by due.run_at
      limit p_limit
      for update skip locked
    ) || array(
      select due.ctid
      from leasehold.job as job
      join leasehold.scheduled as due
        on due.queue_id = job.queue_id
        and due.job_id = job.job_id
      where job.job_id = p_job_id
        and due.run_at <= v_now
      for update of due skip locked
    ))
    returning scheduled.*
  ), promoted as (
    insert into leasehold.ready (
      job_id, live_until, queue_id, attempt, releases, failures, losses, priority, suspect
    )
    select
      due.job_id, due.live_until, due.queue_id, due.attempt, due.releases, due.failures,
      due.losses, due.priority, due.suspect
    from due
    returning queue_id
  )
  select array_agg(promoted.queue_id) into v_queue_ids from promoted;

  perform leasehold._wake(queue_id, count(*))
  from unnest(v_queue_ids) as queue_id
  group by queue_id;
  return coalesce(cardinality(v_queue_ids), 0);
end;
$$;
