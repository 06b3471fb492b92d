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
  select array_agg(row(
    verdict.held,
    case
      when verdict.cancelled then 'cancelled'
      when verdict.overran then 'failed'
      else 'expired'
    end,
    case when verdict.overran then 'max_runtime_exceeded' else 'lease_expired' end,
    verdict.counted,
    case
      when verdict.cancelled then 'cancelled'
      when verdict.reason is not null then 'dead'
      when verdict.overran then 'scheduled'
      else 'ready'
    end,
    coalesce(verdict.reason, (verdict.held).cancel_reason),
    v_now + leasehold._backoff(verdict.backoff_base, verdict.backoff_max, (verdict.held).failures)
  )::leasehold._ending)
  into v_endings
  from (
    select
      lapsed as held,
      budget.backoff_base,
      budget.backoff_max,
      judged.cancelled,
      judged.overran,
      judged.counted,
      case
        when judged.cancelled then null
        when lapsed.live_until <= v_now then 'ttl_expired'
        when judged.overran and lapsed.failures + 1 >= budget.max_failures then 'max_runtime_exceeded'
        when judged.overran then null
        when judged.counted and lapsed.losses + 1 >= budget.max_losses then 'lease_expired'
      end as reason
    from leasehold._take_lapsed(v_now, p_limit, p_job_id) as lapsed
    cross join lateral leasehold._budget(lapsed.job_id) as budget
    cross join lateral (
      select
        lapsed.cancel_requested_at is not null as cancelled,
        coalesce(lapsed.runs_until <= v_now, false) as overran,
        lapsed.cancel_requested_at is null and (
          coalesce(lapsed.runs_until <= v_now, false)
          or not leasehold._excused(lapsed)
        ) as counted
    ) as judged
  ) as verdict;

  perform leasehold._end_attempts(v_endings);
  perform leasehold._wake((held).queue_id, count(*))
  from unnest(v_endings)
  where destination = 'ready'
  group by (held).queue_id;

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
