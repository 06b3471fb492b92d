-- Takes expired leases off their holders, and says of each whether its worker lost others with it: those
-- renewed about when this one was; and whether the worker was seen afterwards, looked at no earlier than it was
-- decided to take the lease. What expired in an outage waits one length for its worker.
create or replace function leasehold._take_lapsed(
  p_now timestamptz,
  p_limit integer,
  p_job_id bigint default null
)
  returns table (held leasehold.lease, in_company boolean, survived boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
declare
  v_job_ids bigint[];
  v_worker_ids uuid[];
begin
  select array_agg(lapsed.job_id), array_agg(distinct lapsed.worker_id)
  into v_job_ids, v_worker_ids
  from (
    select lease.job_id, lease.worker_id
    from leasehold.lease as lease
    where lease.expires_at <= p_now
      and (p_job_id is null or lease.job_id = p_job_id)
      and (p_now < leasehold._away_until(lease) + lease.duration) is not true
      and (
        lease.cancel_requested_at is not null
        or lease.heartbeat_at >= lease.runs_until
        or lease.losses + 1 < (leasehold._budget(lease.job_id)).max_losses
        or leasehold._may_be_last(lease, p_now)
        or leasehold._survived(lease.worker_id, lease.leased_at, lease.expires_at, lease.job_id)
      )
    limit p_limit
    for update skip locked
  ) as lapsed;
  if v_job_ids is null then
    return;
  end if;

  return query
  -- Both see the leases as they were: those that are deleted here are company too.
  with beside as (
    select
      lease.job_id,
      least(
        lease.heartbeat_at - lag(lease.heartbeat_at) over line,
        lead(lease.heartbeat_at) over line - lease.heartbeat_at
      ) as apart
    from leasehold.lease as lease
    where lease.worker_id = any (v_worker_ids)
    window line as (partition by lease.worker_id order by lease.heartbeat_at)
  ), gone as (
    delete from leasehold.lease as lease
    where lease.job_id = any (v_job_ids)
    returning lease as held
  )
  select
    gone.held,
    coalesce(beside.apart <= (gone.held).duration / 2, false) or exists (
      select
      from leasehold.attempt as attempt
      where attempt.worker_id = (gone.held).worker_id
        and attempt.job_id <> (gone.held).job_id
        and attempt.outcome = 'expired'
        and not attempt.excused
        and attempt.heartbeat_at between
          (gone.held).heartbeat_at - (gone.held).duration / 2
          and (gone.held).heartbeat_at + (gone.held).duration / 2
    ),
    leasehold._survived(
      (gone.held).worker_id, (gone.held).leased_at, (gone.held).expires_at, (gone.held).job_id
    )
  from gone
  left join beside on beside.job_id = (gone.held).job_id;
end;
$$;
