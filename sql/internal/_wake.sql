-- Tells sessions that doze that a queue has ready jobs: for each job one bucket of them, all for many jobs.
-- A hint: losing it costs a poll interval. A commit that carries NOTIFY waits for every other such commit, so
-- nobody is told who is awake, and nobody at all while somebody watches the queue; and a full
-- notification queue would fail the caller, so nothing is sent while it fills.
create or replace function leasehold._wake(
  p_queue_id integer,
  p_jobs bigint default 1
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_bucket integer;
  v_told bigint := 0::bigint;
begin
  if not leasehold._is_held(leasehold._doze_class(), p_queue_id) then
    return;
  end if;

  -- Who watches holds this one whole: it cannot be shared.
  if not (
    case
      when pg_try_advisory_lock_shared(leasehold._watch_class(), p_queue_id)
        then pg_advisory_unlock_shared(leasehold._watch_class(), p_queue_id)
      else false
    end
  ) then
    return;
  end if;

  if pg_notification_queue_usage() >= 0.5 then
    return;
  end if;
  v_bucket := (random() * leasehold._buckets())::integer;
  for v_nth in 1..leasehold._buckets() loop
    v_bucket := v_bucket % leasehold._buckets() + 1;
    continue when not leasehold._is_held(leasehold._doze_class() + v_bucket, p_queue_id);
    if p_jobs >= leasehold._buckets() then
      perform pg_notify('leasehold', 'ready:' || p_queue_id);
      return;
    end if;
    perform pg_notify('leasehold', 'ready:' || p_queue_id || ':' || v_bucket);
    v_told := v_told + 1;
    exit when v_told = p_jobs;
  end loop;
end;
$$;
