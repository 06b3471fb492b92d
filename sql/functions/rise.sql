create or replace function leasehold.rise(
  p_queues text[],
  p_dozed boolean default true
)
  returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- A queue that was created meanwhile is not held: PostgreSQL warns of that, and it does not matter.
  set client_min_messages = error
as $$
declare
  v_bucket integer := leasehold._bucket();
  v_queue_ids integer[];
begin
  perform leasehold._require_list('queues', p_queues);

  v_queue_ids := array(
    select queue.queue_id
    from leasehold.queue as queue
    where queue.name = any (p_queues)
  );
  -- A lock that is not held is a warning in the log of the server.
  if p_dozed then
    perform
      pg_advisory_unlock_shared(leasehold._doze_class(), queue_id),
      pg_advisory_unlock_shared(leasehold._doze_class() + v_bucket, queue_id)
    from unnest(v_queue_ids) as queue_id;
  end if;

  -- What was announced to this session alone is for others now.
  if current_setting('transaction_read_only') = 'off' then
    perform leasehold._wake(queue_id)
    from unnest(v_queue_ids) as queue_id
    where leasehold._line(queue_id) is not null;
  end if;
end;
$$;

comment on function leasehold.rise(text[], boolean) is
$doc$Says that this session has no slots free and wants no announcements any more. Ready jobs that are left are
announced to another session.

p_queues  the queues that doze was called with
p_dozed   whether this session dozes on them; false: only announce what is ready

Every doze takes one rise. To be called, too, when an announcement comes that nobody here can follow.
Raises 22023.$doc$;
