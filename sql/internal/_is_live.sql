create or replace function leasehold._is_live(p_job_id bigint)
  returns boolean
  language sql
  stable
return exists (
  select
  from leasehold.job as job
  join leasehold._live as live
    on live.job_id = job.job_id
    and live.queue_id = job.queue_id
    and live.priority = job.priority
  where job.job_id = p_job_id
);
