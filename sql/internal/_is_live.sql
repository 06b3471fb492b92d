-- Whether a job has not finished yet. Volatile, and by its setting never inlined: it takes a snapshot of
-- its own and sees also the job of a caller whose commit the query that asks has just waited for.
create or replace function leasehold._is_live(p_job_id bigint)
  returns boolean
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from leasehold.job as job
    join leasehold._live as live
      on live.job_id = job.job_id
      and live.queue_id = job.queue_id
      and live.priority = job.priority
    where job.job_id = p_job_id
  )
$$;
