-- Sends a hint with the caller's commit; losing it costs a poll interval. Not where the caller wants none, since
-- PREPARE TRANSACTION is refused after one; and not while the notification queue fills, for a full one would
-- fail the caller.
create or replace function leasehold._notify(p_payload text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('leasehold.notify', true) is distinct from 'off'
    and pg_notification_queue_usage() < 0.5
  then
    perform pg_notify('leasehold', p_payload);
  end if;
end;
$$;
