create or replace function leasehold.rise(p_queues text[])
  returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- A queue that was created meanwhile is not held: PostgreSQL warns of that, and it does not matter.
  set client_min_messages = error
as $$
begin
  perform leasehold._require_list('queues', p_queues);

  perform pg_advisory_unlock_shared(leasehold._doze_class(), queue.queue_id)
  from leasehold.queue as queue
  where queue.name = any (p_queues)
    and queue.dropped_at is null;
end;
$$;

comment on function leasehold.rise(text[]) is
$doc$Says that this session is awake and wants no announcements any more.

p_queues  the queues that doze was called with

Every doze takes one rise. Raises 22023.$doc$;
