-- What a job may spend: its own settings, and its queue's where it has none.
create or replace function leasehold._budget(
  p_job_id bigint,
  out max_failures integer,
  out max_losses integer,
  out backoff_base interval,
  out backoff_max interval
)
  language sql
  stable
  set search_path = pg_catalog, pg_temp
  -- fail_many switches this off; here it keeps all other queues from being read.
  set enable_nestloop = on
as $$
  select
    coalesce(job.max_failures, queue.max_failures),
    coalesce(job.max_losses, queue.max_losses),
    queue.backoff_base,
    queue.backoff_max
  from leasehold.job as job
  join leasehold.queue as queue on queue.queue_id = job.queue_id
  where job.job_id = p_job_id
$$;
