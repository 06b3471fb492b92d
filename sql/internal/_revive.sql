-- The newest-token rule: leases that were reaped are taken back as they were, as long as nobody has
-- leased the job since. The expiry stays in the past, so the caller sees that it is late. Skips rows
-- that another transaction holds. Answers whether any lease is back.
create or replace function leasehold._revive(
  p_job_ids bigint[],
  p_tokens uuid[]
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  -- Callers switch these otherwise; here every join is a probe a row, whatever the statistics say.
  set jit = off
  set enable_nestloop = on
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_reaped tid[];
begin
  select array_agg(ready.ctid) into v_reaped
  from unnest(p_job_ids, p_tokens) as item (job_id, token)
  join leasehold.job as job on job.job_id = item.job_id
  join leasehold.ready as ready
    on ready.queue_id = job.queue_id
    and ready.priority = job.priority
    and ready.job_id = job.job_id
    and ready.token = item.token;

  -- An address may be another row's by now, a token may not.
  select array_agg(locked.ctid) into v_reaped
  from (
    select ready.ctid
    from leasehold.ready as ready
    where ready.ctid = any (v_reaped)
      and ready.token = any (p_tokens)
    order by ready.job_id
    for update skip locked
  ) as locked;

  with returned as (
    delete from leasehold.ready as ready
    where ready.ctid = any (v_reaped)
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
    job_id, fence, leased_at, heartbeat_at, expires_at, runs_until, token, worker_id,
    duration, queue_id, attempt, releases, failures, losses, priority, suspect
  )
  select
    returned.job_id, undone.fence, undone.leased_at, undone.heartbeat_at, undone.expires_at,
    undone.runs_until, undone.token, undone.worker_id,
    undone.duration, returned.queue_id, returned.attempt, returned.releases,
    returned.failures - (undone.counted and undone.outcome = 'overran')::integer,
    returned.losses - (undone.counted and undone.outcome = 'expired')::integer,
    returned.priority,
    -- Counted as before the statement: with the lapse that is undone.
    returned.suspect and leasehold._lapses(returned.job_id) - (undone.outcome = 'expired')::integer > 1
  from returned
  join undone on undone.job_id = returned.job_id;

  return found;
end;
$$;
