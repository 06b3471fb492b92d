-- The leases that an earlier lease_jobs call made and that are still current, in the order of the line. If fewer are
-- asked for now, an answer with all of them did not get through: those that are left out are released.
create or replace function leasehold._leases_of_request(
  p_queues text[],
  p_worker_id uuid,
  p_request_id uuid,
  p_limit integer
)
  returns setof leasehold.leased_job
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  -- lease_jobs switches these otherwise, and all of job would be read.
  set enable_nestloop = on
  set enable_hashjoin = off
as $$
declare
  v_kept bigint[];
  v_excess bigint[];
  v_tokens uuid[];
begin
  -- Even this answer waits for replication.
  perform leasehold._await_replication();

  -- A scan of lease: this happens after a lost answer only, and an index would cost every lease.
  select
    array_agg(mine.job_id) filter (where mine.nth <= p_limit),
    array_agg(mine.job_id) filter (where mine.nth > p_limit),
    array_agg(mine.token) filter (where mine.nth > p_limit)
  into v_kept, v_excess, v_tokens
  from (
    select
      lease.job_id, lease.token,
      row_number() over (
        order by array_position(p_queues, queue.name), lease.priority, lease.job_id
      ) as nth
    from leasehold.lease as lease
    join leasehold.queue as queue on queue.queue_id = lease.queue_id
    where lease.request_id = p_request_id
      and lease.worker_id = p_worker_id
  ) as mine;

  if v_excess is not null then
    perform leasehold.release_many(v_excess, v_tokens);
  end if;

  return query
  select
    lease.job_id, queue.name, lease.priority, job.payload, job.headers,
    lease.token, lease.fence, lease.attempt, lease.failures, lease.losses,
    lease.releases, checkpoint.data, lease.duration, lease.expires_at - leasehold._now(),
    lease.runs_until - lease.leased_at, job.enqueued_at, lease.expires_at
  from leasehold.lease as lease
  join leasehold.job as job on job.job_id = lease.job_id
  join leasehold.queue as queue on queue.queue_id = lease.queue_id
  left join leasehold.checkpoint as checkpoint on checkpoint.job_id = lease.job_id
  where lease.job_id = any (v_kept)
    and lease.request_id = p_request_id
    and job.job_id = any (v_kept)
  order by array_position(p_queues, queue.name), lease.priority, lease.job_id;
end;
$$;
