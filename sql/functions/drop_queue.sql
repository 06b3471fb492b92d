create or replace function leasehold.drop_queue(p_queue text)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_queue leasehold.queue;
begin
  perform leasehold._require_read_committed();
  v_queue := leasehold._queue(p_queue);

  if exists (select from leasehold._live as live where live.queue_id = v_queue.queue_id) then
    raise exception 'queue "%" still has jobs', p_queue
      using errcode = 'LH009',
        hint = 'Let them finish, cancel them, or remove those that nobody works on with purge_queue.';
  end if;

  v_lock_timeout := leasehold._limit_waits();
  -- The row stays. A job that slips in from a transaction begun before is cancelled by prune.
  update leasehold.queue as queue
  set dropped_at = leasehold._now(), paused_at = null
  where queue.queue_id = v_queue.queue_id;
  perform set_config('lock_timeout', v_lock_timeout, true);
  return true;
end;
$$;

comment on function leasehold.drop_queue(text) is
$doc$Drops a queue that has no live job. Its finished jobs stay until their retention ends.

p_queue  the queue to drop

Returns true, or raises. Creating a queue of that name again keeps the settings of the old one where it names none.
Waits up to 10 seconds for another transaction that changes the queue, then raises 55P03.
Raises LH005 queue_not_found, LH006 isolation_not_supported, LH007 read_only, LH009 queue_not_empty, 22023.$doc$;
