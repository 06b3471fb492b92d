create or replace function leasehold.doze(p_queues text[])
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- What is let go of may not have been had: PostgreSQL warns of that, and it does not matter.
  set client_min_messages = error
as $$
declare
  v_bucket integer := leasehold._bucket();
  v_queue_ids integer[];
  v_classes integer[] := array[leasehold._doze_class() + v_bucket, leasehold._doze_class()];
  v_dozes boolean;
begin
  perform leasehold._require_list('queues', p_queues);

  v_queue_ids := array(
    select queue.queue_id
    from leasehold.queue as queue
    where queue.name = any (p_queues)
      and queue.dropped_at is null
  );
  -- An enqueue that tests the lock has it for an instant: a second try finds it free again.
  select bool_and(
    pg_try_advisory_lock_shared(class, queue_id) or pg_try_advisory_lock_shared(class, queue_id)
  ) into v_dozes
  from unnest(v_classes) as class
  cross join unnest(v_queue_ids) as queue_id;

  if v_dozes is false then
    perform pg_advisory_unlock_shared(class, queue_id)
    from unnest(v_classes) as class
    cross join unnest(v_queue_ids) as queue_id;
    return null;
  end if;
  return v_bucket;
end;
$$;

comment on function leasehold.doze(text[]) is
$doc$Says that this session has slots free and wants to be woken: from now on jobs that become ready in one
of the queues are announced on the channel "leasehold", as "ready:", the queue's id, and where few jobs are
meant another ":" and a bucket: of the sessions that doze, only those of that bucket need look.

p_queues  the queues; those that do not exist are left out

Returns the bucket of this session; null, having changed nothing, where somebody was in the way: try again later.
LISTEN first, then doze, then look for jobs once more, then wait, but never without a poll: what became
ready in a transaction that was under way is not announced. Who has no slot free any more must rise, or
keeps the announcement from others. So does the end of the session, on which it holds two advisory locks a queue.
Raises 22023.$doc$;
