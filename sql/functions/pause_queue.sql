create or replace function leasehold.pause_queue(p_queue text)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_is_new boolean;
begin
  perform leasehold._require_writable(), leasehold._queue(p_queue);

  v_lock_timeout := leasehold._limit_waits();
  update leasehold.queue as queue
  set paused_at = leasehold._now()
  where queue.name = p_queue
    and queue.paused_at is null;
  v_is_new := found;
  perform set_config('lock_timeout', v_lock_timeout, true);
  if not v_is_new then
    -- Even this answer waits for replication.
    perform leasehold._await_replication();
  end if;
  return v_is_new;
end;
$$;

comment on function leasehold.pause_queue(text) is
$doc$Stops leasing from a queue. Enqueueing goes on, and so do the jobs that are leased.

p_queue  the queue to pause

Returns whether it was not paused before.
Waits up to 10 seconds for another transaction that changes the queue, then raises 55P03.
Raises LH005 queue_not_found, LH007 read_only, 22023. Safe to repeat.$doc$;
