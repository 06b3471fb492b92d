-- From here on the caller waits 5 seconds at most for a lock, less if its own lock_timeout is shorter. Answers what
-- that was: whoever calls this sets it again at the end. A setting of the function would hide the caller's.
create or replace function leasehold._limit_waits()
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text := current_setting('lock_timeout');
begin
  if v_lock_timeout::interval not between interval '1 millisecond' and interval '5 seconds' then
    perform set_config('lock_timeout', '5s', true);
  end if;
  return v_lock_timeout;
end;
$$;
