create or replace function leasehold.oldest_client()
  returns integer
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
return 1;

comment on function leasehold.oldest_client() is
$doc$The oldest schema version whose clients this schema serves. A client made for it or a later one works on, so
that old processes, a rollback and new ones are there at the same time.$doc$;
