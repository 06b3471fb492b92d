-- A worker is seen again: what was charged for leases that expired meanwhile is taken back, wherever the jobs
-- are now. One whose row is held is left for the next time.
create or replace function leasehold._excuse(p_worker_id uuid)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  if not exists (
    select
    from leasehold.attempt as attempt
    where attempt.worker_id = p_worker_id
      and attempt.outcome = 'expired'
      and not attempt.excused
  ) then
    return;
  end if;

  with returned as materialized (
    select
      attempt.job_id, attempt.attempt, attempt.counted, job.queue_id, job.priority,
      finished.job_id is not null as is_finished
    from leasehold.attempt as attempt
    join leasehold.job as job on job.job_id = attempt.job_id
    left join leasehold.finished as finished
      on finished.queue_id = job.queue_id
      and finished.job_id = job.job_id
    where attempt.worker_id = p_worker_id
      and attempt.outcome = 'expired'
      and not attempt.excused
      and attempt.attempt > coalesce(job.redriven_after, 0)
      and leasehold._survived(attempt.worker_id, attempt.leased_at, attempt.expires_at, attempt.job_id)
  ), charged as materialized (
    select
      returned.job_id, returned.queue_id, returned.priority,
      count(*) filter (where returned.counted)::integer as losses,
      leasehold._lapses(returned.job_id) - count(*) > 1 as suspect
    from returned
    where not returned.is_finished
    group by returned.job_id, returned.queue_id, returned.priority
  ), kept as materialized (
    -- Prune passes over a job whose row is held; it would wait for the attempts of one.
    select job.job_id
    from leasehold.job as job
    where job.job_id = any (array(select returned.job_id from returned where returned.is_finished))
    order by job.job_id
    for no key update skip locked
  ), held as materialized (
    select lease.job_id, charged.losses, charged.suspect
    from charged
    join leasehold.lease as lease on lease.job_id = charged.job_id
    order by lease.job_id
    for no key update of lease skip locked
  ), leased as (
    update leasehold.lease as lease
    set losses = greatest(lease.losses - held.losses, 0), suspect = held.suspect
    from held
    where lease.job_id = held.job_id
    returning lease.job_id
  ), from_ready as (
    -- Rows of ready and scheduled are never updated: they leave and come back.
    delete from leasehold.ready as ready
    where ready.ctid = any (array(
      select ready.ctid
      from charged
      join leasehold.ready as ready
        on ready.queue_id = charged.queue_id
        and ready.priority = charged.priority
        and ready.job_id = charged.job_id
      order by ready.job_id
      for update of ready skip locked
    ))
    returning ready.*
  ), ready as (
    insert into leasehold.ready (
      job_id, token, queue_id, attempt, releases, failures, losses, priority, suspect
    )
    select
      gone.job_id, gone.token, gone.queue_id, gone.attempt, gone.releases, gone.failures,
      greatest(gone.losses - charged.losses, 0), gone.priority, charged.suspect
    from from_ready as gone
    join charged on charged.job_id = gone.job_id
    returning ready.job_id
  ), from_scheduled as (
    delete from leasehold.scheduled as scheduled
    where scheduled.ctid = any (array(
      select scheduled.ctid
      from charged
      join leasehold.scheduled as scheduled
        on scheduled.queue_id = charged.queue_id
        and scheduled.job_id = charged.job_id
      order by scheduled.job_id
      for update of scheduled skip locked
    ))
    returning scheduled.*
  ), scheduled as (
    insert into leasehold.scheduled (
      job_id, run_at, queue_id, attempt, releases, failures, losses, priority, suspect
    )
    select
      gone.job_id, gone.run_at, gone.queue_id, gone.attempt, gone.releases, gone.failures,
      greatest(gone.losses - charged.losses, 0), gone.priority, charged.suspect
    from from_scheduled as gone
    join charged on charged.job_id = gone.job_id
    returning scheduled.job_id
  )
  update leasehold.attempt as attempt
  -- What a finished job was charged never changes.
  set excused = true, counted = attempt.counted and returned.is_finished
  from returned
  where attempt.job_id = returned.job_id
    and attempt.attempt = returned.attempt
    and returned.job_id in (
      select leased.job_id from leased
      union all select ready.job_id from ready
      union all select scheduled.job_id from scheduled
      union all select kept.job_id from kept
    );
end;
$$;
