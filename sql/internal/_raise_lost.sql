-- The one place where a status that changed nothing becomes an error. Always raises.
create or replace function leasehold._raise_lost(
  p_job_id bigint,
  p_status text
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  case p_status
    when 'lease_lost' then
      raise exception 'lease on job % is lost', p_job_id
        using errcode = 'LH001',
          detail = 'The token is not the newest one granted for this job, or it was retired.',
          hint = 'Stop working on the job: another worker has it, or may get it.';
    when 'job_not_found' then
      raise exception 'job % does not exist', p_job_id
        using errcode = 'LH002',
          hint = 'It was never enqueued, or it ended and its retention has passed.';
    when 'job_cancelled' then
      raise exception 'job % is cancelled', p_job_id using errcode = 'LH003';
    else
      raise exception 'job % is finished', p_job_id
        using errcode = 'LH004',
          hint = 'A finished job never changes again; redrive takes a dead one back.';
  end case;
end;
$$;
