-- Whether sessions hold this advisory lock shared, for as long as they like. Nobody but them and those who
-- ask, for an instant, takes it: one that can be had whole, or not even shared, is held by none of them.
create or replace function leasehold._is_held(
  p_class integer,
  p_key integer
)
  returns boolean
  language sql
  volatile
return case
  when pg_catalog.pg_try_advisory_lock(p_class, p_key)
    then not pg_catalog.pg_advisory_unlock(p_class, p_key)
  when pg_catalog.pg_try_advisory_lock_shared(p_class, p_key)
    then pg_catalog.pg_advisory_unlock_shared(p_class, p_key)
  else false
end;
