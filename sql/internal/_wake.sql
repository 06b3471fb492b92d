-- Tells sessions that wait that a queue has ready jobs: for each job one bucket of them, all for many jobs.
-- A hint: losing it costs a poll interval. A commit that carries NOTIFY waits for every other such commit, so
-- nobody is told who does not wait, and nobody at all while somebody watches the queue. p_slots is what
-- queue.waiting_slots says, for a caller that knows.
create or replace function leasehold._wake(
  p_queue_id integer,
  p_jobs bigint default 1,
  p_slots bigint default null
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_slots bigint;
  v_keys integer[];
  v_bucket integer;
  v_told bigint;
begin
  -- Most enqueues end here.
  if p_slots = 0 and not leasehold._is_held(leasehold._waiting_class(), p_queue_id) then
    return;
  end if;

  v_slots := p_slots;
  if v_slots is null then
    select queue.waiting_slots into v_slots
    from leasehold.queue as queue
    where queue.queue_id = p_queue_id;
  end if;

  v_keys := array(
    select p_queue_id where leasehold._is_held(leasehold._waiting_class(), p_queue_id)
  );
  if v_slots <> 0 then
    v_keys := v_keys || array(
      select -slot
      from leasehold._slots(v_slots) as slot
      where leasehold._is_held(leasehold._waiting_class(), -slot)
    );
  end if;
  if v_keys = '{}'
    or leasehold._is_watched(p_queue_id)
    or v_slots <> 0 and exists (
      select from leasehold._slots(v_slots) as slot where leasehold._is_watched(-slot)
    )
  then
    return;
  end if;

  v_told := 0::bigint;
  v_bucket := (random() * leasehold._buckets())::integer;
  for v_nth in 1..leasehold._buckets() loop
    v_bucket := v_bucket % leasehold._buckets() + 1;
    continue when not exists (
      select
      from unnest(v_keys) as key
      where leasehold._is_held(leasehold._waiting_class() + v_bucket, key)
    );
    if p_jobs >= leasehold._buckets() then
      perform leasehold._notify('ready:' || p_queue_id);
      return;
    end if;
    perform leasehold._notify('ready:' || p_queue_id || ':' || v_bucket);
    v_told := v_told + 1;
    exit when v_told = p_jobs;
  end loop;
end;
$$;
