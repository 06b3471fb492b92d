create or replace function leasehold.unwatch(p_queues text[])
  returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- A queue that was created meanwhile is not held: PostgreSQL warns of that, and it does not matter.
  set client_min_messages = error
as $$
begin
  perform leasehold._require_list('queues', p_queues);

  perform pg_advisory_unlock(leasehold._watch_class(), queue.queue_id)
  from leasehold.queue as queue
  where queue.name = any (p_queues);
end;
$$;

comment on function leasehold.unwatch(text[]) is
$doc$Says that this session does not look for jobs all the time any more: who dozes is woken again.

p_queues  the queues that watch was called with

Every watch that returned true takes one unwatch. What became ready before was announced to nobody: look once more.
Raises 22023.$doc$;
