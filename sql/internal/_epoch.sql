-- The server's timeline grows with every fail-over, so a fence built on it grows too,
-- even where a promoted standby had not yet seen the last attempts.
create or replace function leasehold._epoch()
  returns bigint
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
begin
  return ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint;
exception
  -- Some hosts do not tell, each in other words. Seconds grow as well, as long as no clock is set back,
  -- and these fit into half of a fence until 2088.
  when others then
    return extract(epoch from leasehold._now() - timestamptz '2020-01-01 00:00:00Z')::bigint;
end;
$$;
