-- Whether the worker whose lease on a job expired was seen afterwards: with its secret, as the one it was when it
-- leased. Not for the same job without end: it may be what freezes its workers.
create or replace function leasehold._survived(
  p_worker_id uuid,
  p_leased_at timestamptz,
  p_expires_at timestamptz,
  p_job_id bigint
)
  returns boolean
  language sql
  stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
  select exists (
    select
    from leasehold.worker as worker
    where worker.worker_id = p_worker_id
      and worker.secret is not null
      and worker.started_at <= p_leased_at
      and worker.heartbeat_at >= p_expires_at
  )
  and (
    select count(*)
    from leasehold.job as job
    join leasehold.attempt as attempt on attempt.job_id = job.job_id
    where job.job_id = p_job_id
      and attempt.attempt > coalesce(job.redriven_after, 0)
      and attempt.excused
  ) < 10
$$;
