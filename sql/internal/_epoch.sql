-- The server's timeline grows with every fail-over, so a fence built on it grows too,
-- even where a promoted standby had not yet seen the last attempts.
create or replace function leasehold._epoch()
  returns bigint
  language sql
  volatile
return ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::pg_catalog.bit(32)::bigint;
