-- Whether a piece of maintenance is due, and if so, that this caller does it. A clock that was set
-- back does not stop maintenance: an instant in the future counts as long ago.
create or replace function leasehold._is_due(
  p_task text,
  p_every interval
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := leasehold._now();
begin
  update leasehold.upkeep as upkeep
  set last_run_at = v_now
  where upkeep.task = (
    select due.task
    from leasehold.upkeep as due
    where due.task = p_task
      and (due.last_run_at <= v_now - p_every or due.last_run_at > v_now)
    for update skip locked
  );
  return found;
end;
$$;
