-- Notes a stretch in which leases expired while nobody looked, or before the first worker was seen again:
-- the database was away, or its clock was set. Those that look at the same time may each note it. If the clock was
-- set back, leases of before expire as much earlier. Answers whether any lease has expired.
create or replace function leasehold._note_outage(p_now timestamptz)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_look leasehold.upkeep;
  v_seen_at timestamptz;
  v_since timestamptz;
  v_is_mine boolean;
  v_now timestamptz;
  v_is_back boolean;
  v_back interval;
begin
  select upkeep.* into v_look
  from leasehold.upkeep as upkeep
  where upkeep.task = 'look'
  for no key update skip locked;
  v_is_mine := found;
  if not v_is_mine then
    select upkeep.* into v_look from leasehold.upkeep as upkeep where upkeep.task = 'look';
  end if;
  -- The clock is read once more: what is noted already was noted before, unless the clock was set.
  v_now := leasehold._now();
  v_is_back := v_look.last_run_at > v_now;
  select max(worker.heartbeat_at) into v_seen_at
  from leasehold.worker as worker
  where worker.heartbeat_at <= p_now;

  if v_is_mine and v_is_back then
    v_back := leasehold._hours(v_look.last_run_at - v_now);
    update leasehold.lease as lease
    set heartbeat_at = lease.heartbeat_at - v_back, expires_at = lease.expires_at - v_back
    where lease.job_id = any (array(
      select ahead.job_id
      from leasehold.lease as ahead
      where ahead.heartbeat_at > leasehold._now()
      order by ahead.job_id
      for no key update skip locked
    ));
  end if;
  -- Once a step: who has the row takes it into account and notes it in one transaction.
  if v_is_mine then
    update leasehold.upkeep as upkeep
    set last_run_at = p_now, seen_at = v_seen_at
    where upkeep.task = 'look';
  end if;

  if v_is_back then
    -- What was noted lies in the future. Another that looks at the same time may have noted one that ends after p_now.
    delete from leasehold.outage as outage
    where outage.ctid = any (array(
      select future.ctid
      from leasehold.outage as future
      where future.ended_at > v_now
      for update skip locked
    ));
  end if;
  -- As a rule there is none, and lease is read once.
  if not exists (select from leasehold.lease as lease where lease.expires_at <= p_now) then
    return false;
  end if;

  v_since := least(
    v_look.last_run_at, case when v_seen_at > v_look.seen_at then v_look.seen_at end
  );
  insert into leasehold.outage (started_at, ended_at)
  select v_since, p_now
  where v_since > '-infinity'
    and v_since < p_now
    and exists (
      select
      from leasehold.lease as lease
      where leasehold._lapsed_in(lease, v_since, p_now)
        and not exists (
          select
          from leasehold.outage as noted
          where noted.started_at = v_since
            and noted.ended_at between lease.expires_at and p_now
        )
    )
  on conflict do nothing;
  return true;
end;
$$;
