create or replace function leasehold.schema_version()
  returns integer
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
return 1;

comment on function leasehold.schema_version() is
$doc$The version of this schema: the number of the last migration. Clients refuse older ones than they know,
and newer ones that do not serve them any more: see oldest_client.$doc$;
