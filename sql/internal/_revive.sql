-- The newest-token rule: a lease that was reaped is taken back as it was, as long as nobody has
-- leased the job since. The expiry stays in the past, so the caller sees that it is late.
create or replace function leasehold._revive(
  p_job_ids bigint[],
  p_tokens uuid[]
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
begin
  with returned as (
    delete from leasehold.ready as ready
    using unnest(p_job_ids, p_tokens) as item (job_id, token), leasehold.job as job
    where job.job_id = item.job_id
      and ready.queue_id = job.queue_id
      and ready.priority = job.priority
      and ready.job_id = job.job_id
      and ready.token = item.token
    returning ready.*
  ), undone as (
    -- The worker had not vanished after all: the loss and its history are taken back.
    delete from leasehold.attempt as attempt
    using returned
    where attempt.job_id = returned.job_id
      and attempt.attempt = returned.attempt
    returning attempt.*
  )
  insert into leasehold.lease (
    job_id, fence, leased_at, heartbeat_at, expires_at, runs_until, live_until, token, worker_id,
    duration, queue_id, attempt, releases, failures, losses, priority
  )
  select
    returned.job_id, undone.fence, undone.leased_at, undone.heartbeat_at, undone.expires_at,
    undone.runs_until, returned.live_until, undone.token, undone.worker_id,
    undone.duration, returned.queue_id, returned.attempt, returned.releases, returned.failures,
    returned.losses - undone.counted::integer, returned.priority
  from returned
  join undone on undone.job_id = returned.job_id;

  return found;
end;
$$;
