-- Of a job that is released again and again its last hundred attempts stay, and those that spent a failure
-- or a loss: its history must not grow without end.
create or replace function leasehold._trim_attempts(p_endings leasehold._ending[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  -- release_many switches this off.
  set enable_nestloop = on
as $$
begin
  delete from leasehold.attempt as attempt
  using unnest(p_endings) as ending
  where (ending.held).releases >= 100
    and attempt.job_id = (ending.held).job_id
    and attempt.attempt <= (ending.held).attempt - 100
    and not attempt.counted;
end;
$$;
