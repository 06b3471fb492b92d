-- Writes jobs that have left their position into finished, or erases those their queue keeps
-- for no time. keep_until is decided here; the caller leaves it null.
create or replace function leasehold._finish(p_jobs leasehold.finished[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_kept integer;
begin
  -- Not even a lock on the table where there is nothing to write.
  if cardinality(p_jobs) = 0 then
    return;
  end if;

  insert into leasehold.finished (
    job_id, finished_at, keep_until, leased_at, live_until, token, worker_id, queue_id,
    attempt, releases, failures, losses, priority, late, outcome, reason, result
  )
  select
    ended.job_id, ended.finished_at, ended.finished_at + ended.keep, ended.leased_at,
    ended.live_until, ended.token, ended.worker_id, ended.queue_id,
    ended.attempt, ended.releases, ended.failures, ended.losses, ended.priority, ended.late,
    ended.outcome, ended.reason, ended.result
  from (
    -- A subquery a row, not a join: its plan is an index probe whatever the statistics say.
    select job.*, (
      select case job.outcome when 'dead' then queue.keep_dead else queue.keep_completed end
      from leasehold.queue as queue
      where queue.queue_id = job.queue_id
    ) as keep
    from unnest(p_jobs) as job
  ) as ended
  where ended.keep > interval '0';
  get diagnostics v_kept = row_count;

  if v_kept < cardinality(p_jobs) then
    perform leasehold._erase(array(
      select job.job_id
      from unnest(p_jobs) as job
      where not exists (
        select
        from leasehold.queue as queue
        where queue.queue_id = job.queue_id
          and case job.outcome when 'dead' then queue.keep_dead else queue.keep_completed end
            > interval '0'
      )
    ));
  end if;
end;
$$;
