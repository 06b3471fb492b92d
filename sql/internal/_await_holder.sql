-- Waits until no other transaction holds the row in which a job stands, and keeps that row for the caller.
-- Waits 5 seconds at most in line behind others that wait, and 5 for the holder; less if the caller's own
-- lock_timeout is shorter. p_token: null for any.
create or replace function leasehold._await_holder(
  p_job_id bigint,
  p_token uuid,
  p_strength text -- of the lock on a lease: key share, no key update or update
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_lock_timeout text := leasehold._limit_waits();
begin
  -- Heartbeats of others must pass an assertion, and assertions each other: no stronger than the caller needs.
  if p_strength = 'key share' then
    perform from leasehold.lease as lease
    where lease.job_id = p_job_id and (p_token is null or lease.token = p_token)
    for key share;
  elsif p_strength = 'no key update' then
    perform from leasehold.lease as lease
    where lease.job_id = p_job_id and (p_token is null or lease.token = p_token)
    for no key update;
  else
    perform from leasehold.lease as lease
    where lease.job_id = p_job_id and (p_token is null or lease.token = p_token)
    for update;
  end if;

  if not found then
    perform
    from leasehold.job as job
    join leasehold.ready as ready
      on ready.queue_id = job.queue_id
      and ready.priority = job.priority
      and ready.job_id = job.job_id
    where job.job_id = p_job_id and (p_token is null or ready.token = p_token)
    for update of ready;
  end if;
  if not found and p_token is null then
    perform
    from leasehold.job as job
    join leasehold.scheduled as scheduled
      on scheduled.queue_id = job.queue_id
      and scheduled.job_id = job.job_id
    where job.job_id = p_job_id
    for update of scheduled;
  end if;
  if not found and p_token is null then
    perform
    from leasehold.job as job
    join leasehold.blocked as blocked
      on blocked.queue_id = job.queue_id
      and blocked.job_id = job.job_id
    where job.job_id = p_job_id
    for update of blocked;
  end if;

  perform set_config('lock_timeout', v_lock_timeout, true);
exception
  when lock_not_available then
    raise exception 'job % is held by another transaction', p_job_id
      using errcode = 'lock_not_available',
        detail = 'A transaction that has yet to end has settled, asserted, cancelled or leased the job.',
        hint = 'Repeat the call when that transaction has ended; pg_stat_activity shows those that are idle in transaction.';
end;
$$;
