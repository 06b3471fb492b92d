create or replace function leasehold.doze(p_queues text[])
  returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform leasehold._require_list('queues', p_queues);

  -- An enqueue that tests the lock has it for an instant: a second try finds it free again.
  perform
    pg_try_advisory_lock_shared(leasehold._doze_class(), queue.queue_id)
    or pg_try_advisory_lock_shared(leasehold._doze_class(), queue.queue_id)
  from leasehold.queue as queue
  where queue.name = any (p_queues)
    and queue.dropped_at is null;
end;
$$;

comment on function leasehold.doze(text[]) is
$doc$Says that this session has nothing to do and wants to be woken: from now on a job that becomes ready in one
of the queues is announced on the channel "leasehold", as "ready:" and the queue's id.

p_queues  the queues; those that do not exist are left out

LISTEN first, then doze, then look for jobs once more, then wait, but never without a poll: what became
ready in a transaction that was under way is not announced. rise ends it, and so does the end of the session,
on which it holds an advisory lock a queue.
Raises 22023.$doc$;
