-- Does a task of maintenance, up to a limit or until an instant, or for one job alone. Answers how many
-- rows that were, and whether nothing is left to do.
create or replace function leasehold._perform(
  p_task text,
  p_limit integer,
  p_until timestamptz,
  p_job_id bigint,
  out done integer,
  out is_through boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := leasehold._now();
begin
  case p_task
    when 'promote' then
      done := leasehold._promote(p_limit, p_job_id);
    when 'reap' then
      done := leasehold._reap(p_limit, p_job_id);
    when 'finished' then
      if p_job_id is null then
        select task.pruned, task.is_through into done, is_through
        from leasehold._prune_finished(p_limit, p_until) as task;
      else
        done := leasehold._prune_jobs(array[p_job_id], v_now);
      end if;
    when 'dropped' then
      -- Jobs that slipped into their queue while that was dropped.
      done := cardinality(leasehold._withdraw(
        array(
          select live.job_id
          from leasehold.queue as queue
          join leasehold._live as live on live.queue_id = queue.queue_id
          where queue.dropped_at is not null
            and live.state <> 'leased'
          limit p_limit
        ),
        'cancelled',
        'queue_dropped'
      ));
    when 'dedup', 'request' then
      select task.swept, task.is_through into done, is_through
      from leasehold._sweep(p_task, p_until) as task;
    when 'worker' then
      delete from leasehold.outage as outage
      where outage.ctid = any (array(
        select old.ctid
        from leasehold.outage as old
        where old.ended_at < v_now - interval '48 hours'
        for update skip locked
      ));
      delete from leasehold.worker as worker
      where worker.worker_id = any (array(
        select old.worker_id
        from leasehold.worker as old
        where old.heartbeat_at < v_now - interval '24 hours'
          and not exists (
            select from leasehold.lease as lease where lease.worker_id = old.worker_id
          )
        for update skip locked
      ));
      get diagnostics done = row_count;
    when 'tally' then
      with folded as (
        delete from leasehold.tally as tally
        where tally.ctid = any (array(
          select old.ctid from leasehold.tally as old limit p_limit for update skip locked
        ))
        returning tally.queue_id, tally.job_id, tally.pruned
      ), fold as (
        insert into leasehold.tally (queue_id, job_id, pruned)
        select folded.queue_id, min(folded.job_id), sum(folded.pruned)
        from folded
        group by folded.queue_id
      )
      select count(*)::integer into done from folded;
    when 'mark' then
      done := leasehold._lower_marks();
  end case;
  is_through := coalesce(is_through, done < p_limit);
end;
$$;
