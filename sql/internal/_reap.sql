-- Takes away leases that have expired, and ends waiting jobs whose time to live has passed: up to a limit,
-- or one job alone.
create or replace function leasehold._reap(
  p_limit integer,
  p_job_id bigint default null
)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := leasehold._now();
  v_endings leasehold._ending[];
  v_expired bigint[];
begin
  if leasehold._note_outage(v_now) then
    select array_agg(row(
      verdict.held,
      case
        when verdict.cancelled then 'cancelled'
        when verdict.overran then 'overran'
        else 'expired'
      end,
      case when verdict.overran then 'max_runtime_exceeded' else 'lease_expired' end,
      verdict.counted,
      case
        when verdict.cancelled then 'cancelled'
        when verdict.reason is not null then 'dead'
        else 'ready'
      end,
      coalesce(verdict.reason, (verdict.held).cancel_reason),
      null
    )::leasehold._ending)
    into v_endings
    from (
      select
        judged.held,
        judged.cancelled,
        judged.overran,
        judged.counted,
        case
          when judged.cancelled then null
          when judged.overran then
            case when (judged.held).failures + 1 >= budget.max_failures then 'max_runtime_exceeded' end
          when judged.counted and (judged.held).losses + 1 >= budget.max_losses then 'lease_expired'
        end as reason
      from (
        select
          lapsed.held,
          lapsed.cancelled,
          lapsed.overran,
          not lapsed.cancelled and (
            lapsed.overran
            or not lapsed.survived and (
              not lapsed.in_company
              -- The only suspect among them. Every other time: one that has not lapsed before may be the one
              -- that kills, and is a suspect itself the next time but one.
              or (lapsed.held).suspect and leasehold._lapses((lapsed.held).job_id) % 2 = 0
            )
          ) as counted
        from (
          select
            lapsed.held,
            lapsed.in_company,
            lapsed.survived,
            (lapsed.held).cancel_requested_at is not null as cancelled,
            coalesce((lapsed.held).heartbeat_at >= (lapsed.held).runs_until, false) as overran
          from leasehold._take_lapsed(v_now, p_limit, p_job_id) as lapsed
        ) as lapsed
      ) as judged
      cross join lateral leasehold._budget((judged.held).job_id) as budget
    ) as verdict;

    perform leasehold._end_attempts(v_endings);
    perform leasehold._wake((held).queue_id, count(*))
    from unnest(v_endings)
    where destination = 'ready'
    group by (held).queue_id;
  end if;

  v_expired := array(
    select ready.job_id
    from leasehold.ready as ready
    where ready.live_until <= v_now
      and (p_job_id is null or ready.job_id = p_job_id)
    limit p_limit
    for update skip locked
  ) || array(
    select scheduled.job_id
    from leasehold.scheduled as scheduled
    where scheduled.live_until <= v_now
      and (p_job_id is null or scheduled.job_id = p_job_id)
    limit p_limit
    for update skip locked
  ) || array(
    select blocked.job_id
    from leasehold.blocked as blocked
    where blocked.live_until <= v_now
      and (p_job_id is null or blocked.job_id = p_job_id)
    limit p_limit
    for update skip locked
  );
  return coalesce(cardinality(v_endings), 0)
    + cardinality(leasehold._withdraw(v_expired[1:p_limit], 'dead', 'ttl_expired'));
end;
$$;
