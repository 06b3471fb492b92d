create or replace function leasehold.pause_queue(p_queue text)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '5s'
as $$
begin
  perform leasehold._require_writable(), leasehold._queue(p_queue);

  update leasehold.queue as queue
  set paused_at = leasehold._now()
  where queue.name = p_queue
    and queue.paused_at is null;
  if found then
    return true;
  end if;
  -- Even this answer waits for replication.
  perform leasehold._await_replication();
  return false;
end;
$$;

comment on function leasehold.pause_queue(text) is
$doc$Stops leasing from a queue. Enqueueing goes on, and so do the jobs that are leased.

p_queue  the queue to pause

Returns whether it was not paused before.
Raises LH005 queue_not_found, LH007 read_only, 22023. Safe to repeat.$doc$;
