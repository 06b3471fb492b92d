-- A single call's answer: raises where the batch form only says that nothing changed.
create or replace function leasehold._settled(p_settlement leasehold.settlement)
  returns leasehold.settlement
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_settlement.status in ('lease_lost', 'job_not_found', 'job_cancelled', 'job_finished') then
    perform leasehold._raise_lost(p_settlement.job_id, p_settlement.status);
  end if;
  return p_settlement;
end;
$$;
