-- Removes those of these jobs that have ended and whose retention has passed. Waits for nobody: who redrives
-- a job or removes it holds its row.
create or replace function leasehold._prune_jobs(
  p_job_ids bigint[],
  p_now timestamptz
)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_queue_ids integer[];
  v_job_ids bigint[];
  v_gone bigint[];
begin
  select array_agg(free.queue_id), array_agg(free.job_id) into v_queue_ids, v_job_ids
  from (
    select job.queue_id, job.job_id
    from leasehold.job as job
    where job.job_id = any (p_job_ids)
    order by job.job_id
    for update skip locked
  ) as free;

  -- Looked at again: one may have been redriven before its row was locked.
  with gone as (
    delete from leasehold.finished as finished
    using unnest(v_queue_ids, v_job_ids) as free (queue_id, job_id)
    where finished.queue_id = free.queue_id
      and finished.job_id = free.job_id
      and finished.keep_until <= p_now
    returning finished.job_id
  )
  select array_agg(gone.job_id) into v_gone from gone;

  return case when v_gone is null then 0 else leasehold._erase(v_gone) end;
end;
$$;
