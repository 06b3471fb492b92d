-- How often a job's lease expired because its worker vanished, as far as is known, in its newest generation.
create or replace function leasehold._lapses(p_job_id bigint)
  returns integer
  language sql
  stable
  set search_path = pg_catalog, pg_temp
  -- Callers switch these off.
  set jit = off
  set enable_nestloop = on
  set enable_seqscan = off
as $$
  select count(*)::integer
  from leasehold.job as job
  join leasehold.attempt as attempt on attempt.job_id = job.job_id
  where job.job_id = p_job_id
    and attempt.attempt > coalesce(job.redriven_after, 0)
    and attempt.outcome = 'expired'
    and not attempt.excused
$$;
