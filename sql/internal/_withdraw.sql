-- Takes jobs that are not leased out of their position: finished with an outcome, or, where the
-- outcome is null, erased. Returns the ids it found there; a job that was leased meanwhile, or whose row
-- another transaction holds, is not among them.
create or replace function leasehold._withdraw(
  p_job_ids bigint[],
  p_outcome text,
  p_reason text
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_jobs leasehold.finished[];
  v_job_ids bigint[];
begin
  if cardinality(p_job_ids) = 0 then
    return array[]::bigint[];
  end if;

  if p_outcome is null then
    -- Whoever has just been given a job by its dedup key holds that row until his commit.
    with own as materialized (
      select dedup.queue_id, dedup.dedup_key, dedup.job_id
      from leasehold.job as job
      join leasehold.dedup as dedup
        on dedup.queue_id = job.queue_id
        and dedup.dedup_key = job.dedup_key
        and dedup.job_id = job.job_id
      where job.job_id = any (p_job_ids)
    ), free as materialized (
      select dedup.job_id
      from own
      join leasehold.dedup as dedup using (queue_id, dedup_key, job_id)
      for update of dedup skip locked
    )
    select array_agg(wanted.job_id) into p_job_ids
    from unnest(p_job_ids) as wanted (job_id)
    where wanted.job_id not in (
      select own.job_id from own except select free.job_id from free
    );
  end if;

  with wanted as materialized (
    select job.job_id, job.queue_id, job.priority
    from leasehold.job as job
    where job.job_id = any (p_job_ids)
    order by job.job_id
  ), from_scheduled as (
    -- Rows of these tables are never updated, so the address that was locked is the row.
    delete from leasehold.scheduled as scheduled
    where scheduled.ctid = any (array(
      select free.ctid
      from wanted
      join leasehold.scheduled as free
        on free.queue_id = wanted.queue_id
        and free.job_id = wanted.job_id
      order by free.job_id
      for update of free skip locked
    ))
    returning scheduled.*
  ), from_ready as (
    delete from leasehold.ready as ready
    where ready.ctid = any (array(
      select free.ctid
      from wanted
      join leasehold.ready as free
        on free.queue_id = wanted.queue_id
        and free.priority = wanted.priority
        and free.job_id = wanted.job_id
      order by free.job_id
      for update of free skip locked
    ))
    returning ready.*
  ), from_blocked as (
    delete from leasehold.blocked as blocked
    where blocked.ctid = any (array(
      select free.ctid
      from wanted
      join leasehold.blocked as free
        on free.queue_id = wanted.queue_id
        and free.job_id = wanted.job_id
      order by free.job_id
      for update of free skip locked
    ))
    returning blocked.*
  ), withdrawn as (
    select job_id, live_until, queue_id, attempt, releases, failures, losses, priority
    from from_scheduled
    union all
    select job_id, live_until, queue_id, attempt, releases, failures, losses, priority
    from from_ready
    union all
    select job_id, live_until, queue_id, attempt, releases, failures, losses, priority
    from from_blocked
  )
  select
    array_agg(row(
      job_id, leasehold._now(), null, null, live_until, null, null, queue_id, attempt, releases, failures,
      losses, priority, false, p_outcome, left(p_reason, 16384), null
    )::leasehold.finished),
    array_agg(job_id)
  into v_jobs, v_job_ids
  from withdrawn;

  if v_job_ids is null then
    return array[]::bigint[];
  end if;
  if p_outcome is null then
    delete from leasehold.dedup as dedup
    using leasehold.job as job
    where job.job_id = any (v_job_ids)
      and dedup.queue_id = job.queue_id
      and dedup.dedup_key = job.dedup_key
      and dedup.job_id = job.job_id;
    perform leasehold._erase(v_job_ids);
  else
    perform leasehold._finish(v_jobs);
  end if;
  return v_job_ids;
end;
$$;
