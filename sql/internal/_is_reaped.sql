-- Whether a token's lease was reaped and nobody has leased the job since. Stable: it sees what the
-- query that asks sees, so a lease is never missing on both sides of a move.
create or replace function leasehold._is_reaped(
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
