-- The jobs, in any order, of which one makes a task of maintenance fail.
create or replace function leasehold._failing_jobs(
  p_task text,
  p_limit integer
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := leasehold._now();
begin
  return array(
    select failing.job_id
    from (
      (
        select scheduled.job_id
        from leasehold.scheduled as scheduled
        where p_task = 'promote'
          and scheduled.run_at <= v_now
        limit 10 * p_limit
      )
      union all (
        select lease.job_id
        from leasehold.lease as lease
        where p_task = 'reap'
          and lease.expires_at <= v_now
        limit 10 * p_limit
      )
      union all (
        select live.job_id
        from leasehold._live as live
        where p_task = 'reap'
          and live.state <> 'leased'
          and live.live_until <= v_now
        limit 10 * p_limit
      )
      union all (
        select finished.job_id
        from leasehold.finished as finished
        where p_task = 'finished'
          and finished.keep_until <= v_now
        limit 10 * p_limit
      )
    ) as failing
    order by random()
    limit p_limit
  );
end;
$$;
