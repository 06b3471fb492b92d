-- The slots, from 1 to 62, that are set in queue.waiting_slots.
create or replace function leasehold._slots(p_slots bigint)
  returns setof integer
  language sql
  immutable
  parallel safe
begin atomic
  select slot
  from pg_catalog.generate_series(1, 62) as slot
  where p_slots & (1::bigint << slot) <> 0;
end;
