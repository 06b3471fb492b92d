-- The leases that an earlier lease_jobs call made and that are still current, in the order of the line.
create or replace function leasehold._leases_of_request(
  p_queues text[],
  p_worker_id uuid,
  p_request_id uuid
)
  returns setof leasehold.leased_job
  language sql
  set search_path = pg_catalog, pg_temp
  set jit = off
  -- lease_jobs switches these otherwise, and all of job would be read.
  set enable_nestloop = on
  set enable_hashjoin = off
as $$
  -- Even this answer waits for replication.
  select leasehold._await_replication();

  -- A scan of lease: this happens after a lost answer only, and an index would cost every lease.
  with mine as materialized (
    select lease.*
    from leasehold.lease as lease
    where lease.request_id = p_request_id
      and lease.worker_id = p_worker_id
  )
  select
    lease.job_id, queue.name, lease.priority, job.payload, job.headers,
    lease.token, lease.fence, lease.attempt, lease.failures, lease.losses,
    lease.releases, checkpoint.data, lease.duration, lease.expires_at - leasehold._now(),
    lease.runs_until - lease.leased_at, job.enqueued_at, lease.expires_at
  from mine as lease
  join leasehold.job as job on job.job_id = lease.job_id
  join leasehold.queue as queue on queue.queue_id = lease.queue_id
  left join leasehold.checkpoint as checkpoint on checkpoint.job_id = lease.job_id
  where job.job_id = any (array(select mine.job_id from mine))
  order by array_position(p_queues, queue.name), lease.priority, lease.job_id
$$;
