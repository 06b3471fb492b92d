create or replace function leasehold.doze(p_queues text[])
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_bucket integer := leasehold._bucket();
begin
  perform leasehold._require_list('queues', p_queues);

  -- An enqueue that tests the lock has it for an instant: a second try finds it free again.
  perform
    pg_try_advisory_lock_shared(class, queue.queue_id)
    or pg_try_advisory_lock_shared(class, queue.queue_id)
  from unnest(array[leasehold._doze_class() + v_bucket, leasehold._doze_class()]) as class
  cross join leasehold.queue as queue
  where queue.name = any (p_queues)
    and queue.dropped_at is null;
  return v_bucket;
end;
$$;

comment on function leasehold.doze(text[]) is
$doc$Says that this session has slots free and wants to be woken: from now on jobs that become ready in one
of the queues are announced on the channel "leasehold", as "ready:", the queue's id, and where few jobs are
meant another ":" and a bucket: of the sessions that doze, only those of that bucket need look.

p_queues  the queues; those that do not exist are left out

Returns the bucket of this session.
LISTEN first, then doze, then look for jobs once more, then wait, but never without a poll: what became
ready in a transaction that was under way is not announced. Who has no slot free any more must rise, or
keeps the announcement from others. So does the end of the session, on which it holds two advisory locks a queue.
Raises 22023.$doc$;
