-- Takes the advisory locks of a session that waits in this mode, or none. Answers whether it has them.
create or replace function leasehold._hold_waiting(
  p_mode text,
  p_key integer
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_of_all integer := leasehold._waiting_class();
  v_of_bucket integer := leasehold._waiting_class() + leasehold._bucket();
begin
  -- An enqueue that tests a lock has it for an instant: a second try finds it free again.
  if p_mode = 'watching' then
    return pg_try_advisory_lock(leasehold._watching_class(), p_key)
      or pg_try_advisory_lock(leasehold._watching_class(), p_key);
  end if;

  if pg_try_advisory_lock_shared(v_of_all, p_key) or pg_try_advisory_lock_shared(v_of_all, p_key) then
    if pg_try_advisory_lock_shared(v_of_bucket, p_key)
      or pg_try_advisory_lock_shared(v_of_bucket, p_key)
    then
      return true;
    end if;
    perform pg_advisory_unlock_shared(v_of_all, p_key);
  end if;
  return false;
end;
$$;
