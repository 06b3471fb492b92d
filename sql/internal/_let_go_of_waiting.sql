-- Lets go of what _hold_waiting has taken.
create or replace function leasehold._let_go_of_waiting(
  p_mode text,
  p_key integer
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_mode = 'watching' then
    perform pg_advisory_unlock(leasehold._watching_class(), p_key);
  elsif p_mode = 'told' then
    perform
      pg_advisory_unlock_shared(leasehold._waiting_class(), p_key),
      pg_advisory_unlock_shared(leasehold._waiting_class() + leasehold._bucket(), p_key);
  end if;
end;
$$;
