-- Whether a session holds the advisory lock of those that watch: whole, so that it cannot be shared.
create or replace function leasehold._is_watched(p_key integer)
  returns boolean
  language sql
  volatile
return case
  when pg_catalog.pg_try_advisory_lock_shared(leasehold._watching_class(), p_key)
    then not pg_catalog.pg_advisory_unlock_shared(leasehold._watching_class(), p_key)
  else true
end;
