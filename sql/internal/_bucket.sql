-- The bucket of this session, from 1.
create or replace function leasehold._bucket()
  returns integer
  language sql
  stable
return 1 + pg_catalog.pg_backend_pid() % leasehold._buckets();
