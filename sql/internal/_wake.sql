-- Tells sleeping schedulers that a queue has ready jobs. A hint: losing it costs a poll interval.
-- NOTIFY serializes commits, and a full notification queue would fail the caller's: never while it fills.
create or replace function leasehold._wake(p_queue_ids integer[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if cardinality(p_queue_ids) > 0 and pg_notification_queue_usage() < 0.5 then
    perform pg_notify('leasehold', 'ready:' || woken.queue_id)
    from (select distinct queue_id from unnest(p_queue_ids) as queue_id limit 100) as woken;
  end if;
end;
$$;
