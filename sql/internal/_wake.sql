-- Tells sessions that doze that a queue has ready jobs. A hint: losing it costs a poll interval.
-- A commit that carries NOTIFY waits for every other such commit, so nobody is told who is awake; and
-- a full notification queue would fail the caller, so nothing is sent while it fills.
create or replace function leasehold._wake(p_queue_ids integer[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_id integer;
begin
  for v_queue_id in
    select distinct queue_id from unnest(p_queue_ids) as queue_id limit 100
  loop
    -- Who dozes holds this lock shared: it cannot be had whole. It is held for no longer than this.
    if pg_try_advisory_lock(leasehold._doze_class(), v_queue_id) then
      perform pg_advisory_unlock(leasehold._doze_class(), v_queue_id);
    elsif pg_notification_queue_usage() < 0.5 then
      perform pg_notify('leasehold', 'ready:' || v_queue_id);
    end if;
  end loop;
end;
$$;
