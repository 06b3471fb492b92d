-- Whether a token is the newest of its job: it holds the lease, or its lease was reaped and nobody has leased
-- the job since. Stable: it sees what the query that asks sees, so a lease is never missing on both sides of
-- a move. A call that could not take such a lease has met another transaction, and answers busy.
create or replace function leasehold._is_current(
  p_job_id bigint,
  p_token uuid
)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_job leasehold.job;
begin
  if exists (
    select
    from leasehold.lease as lease
    where lease.job_id = p_job_id
      and lease.token = p_token
  ) then
    return true;
  end if;

  select job.* into v_job from leasehold.job as job where job.job_id = p_job_id;

  return exists (
    select
    from leasehold.ready as ready
    where ready.queue_id = v_job.queue_id
      and ready.priority = v_job.priority
      and ready.job_id = p_job_id
      and ready.token = p_token
  );
end;
$$;
