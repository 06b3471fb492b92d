create or replace function leasehold.watch(p_queues text[])
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_id integer;
  v_watched integer[] := array[]::integer[];
begin
  perform leasehold._require_list('queues', p_queues);

  for v_queue_id in
    select queue.queue_id
    from leasehold.queue as queue
    where queue.name = any (p_queues)
      and queue.dropped_at is null
  loop
    -- An enqueue that tests the lock has it for an instant: a second try finds it free again.
    if pg_try_advisory_lock(leasehold._watch_class(), v_queue_id)
      or pg_try_advisory_lock(leasehold._watch_class(), v_queue_id)
    then
      v_watched := v_watched || v_queue_id;
    else
      perform pg_advisory_unlock(leasehold._watch_class(), queue_id)
      from unnest(v_watched) as queue_id;
      return false;
    end if;
  end loop;
  return true;
end;
$$;

comment on function leasehold.watch(text[]) is
$doc$Says that this session looks for jobs every few milliseconds, so that nobody need be woken: where many jobs
come one by one, announcing each costs more than looking.

p_queues  the queues; those that do not exist are left out

Returns whether it does: false where another session watches one of the queues, and then nothing has changed.
Nothing is announced meanwhile, so who cannot look any more must call unwatch, and look once more. It ends with the
session, too, on which it holds an advisory lock a queue.
Raises 22023.$doc$;
