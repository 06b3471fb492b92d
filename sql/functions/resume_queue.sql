create or replace function leasehold.resume_queue(p_queue text)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_was_paused boolean;
begin
  perform leasehold._require_writable(), leasehold._queue(p_queue);

  v_lock_timeout := leasehold._limit_waits();
  update leasehold.queue as queue
  set paused_at = null
  where queue.name = p_queue
    and queue.paused_at is not null;
  v_was_paused := found;
  perform set_config('lock_timeout', v_lock_timeout, true);
  -- Even the answer of a repeated call waits for replication.
  perform leasehold._await_replication();

  perform leasehold._wake((leasehold._queue(p_queue)).queue_id, leasehold._buckets());
  return v_was_paused;
end;
$$;

comment on function leasehold.resume_queue(text) is
$doc$Lets a paused queue be leased from again, and wakes its workers.

p_queue  the queue to resume

Returns whether it was paused before.
Waits up to 10 seconds for another transaction that changes the queue, then raises 55P03.
Raises LH005 queue_not_found, LH007 read_only, 22023. Safe to repeat.$doc$;
