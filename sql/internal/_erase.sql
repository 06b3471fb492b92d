-- Removes all that is known of finished or withdrawn jobs, and counts them. p_queue_id: null where they
-- are of several queues.
create or replace function leasehold._erase(
  p_job_ids bigint[],
  p_queue_id integer default null
)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_erased integer;
begin
  delete from leasehold.attempt as attempt where attempt.job_id = any (p_job_ids);
  delete from leasehold.checkpoint as checkpoint where checkpoint.job_id = any (p_job_ids);

  -- Half of what counting the rows of each queue takes.
  if p_queue_id is not null then
    delete from leasehold.job as job where job.job_id = any (p_job_ids);
    get diagnostics v_erased = row_count;
    insert into leasehold.tally as tally (queue_id, job_id, pruned)
    select p_queue_id, p_job_ids[1], v_erased where v_erased > 0
    -- Only where ids have begun anew.
    on conflict (queue_id, job_id) do update set pruned = tally.pruned + excluded.pruned;
    return v_erased;
  end if;

  with gone as (
    delete from leasehold.job as job
    where job.job_id = any (p_job_ids)
    returning job.queue_id, job.job_id
  ), counted as (
    insert into leasehold.tally as tally (queue_id, job_id, pruned)
    select gone.queue_id, min(gone.job_id), count(*) from gone group by gone.queue_id
    on conflict (queue_id, job_id) do update set pruned = tally.pruned + excluded.pruned
  )
  select count(*)::integer into v_erased from gone;

  return v_erased;
end;
$$;
