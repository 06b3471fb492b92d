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
  -- Some hosts do not tell, each in other words. Seconds grow as well, as long as no clock is set back.
  when others then
    return extract(epoch from leasehold._now())::bigint;
end;
$$;
