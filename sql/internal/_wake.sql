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
  v_buckets integer[];
begin
  -- Who dozes holds this lock shared: it cannot be had whole. It is held for no longer than this.
  if (
    case
      when pg_try_advisory_lock(leasehold._doze_class(), p_queue_id)
        then pg_advisory_unlock(leasehold._doze_class(), p_queue_id)
      else false
    end
  ) then
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

  v_buckets := array(
    select bucket
    from generate_series(1, leasehold._buckets()) as bucket
    where case
      when pg_try_advisory_lock(leasehold._doze_class() + bucket, p_queue_id)
        then not pg_advisory_unlock(leasehold._doze_class() + bucket, p_queue_id)
      -- Shared it can be had from those who doze, not from another that tests it.
      when pg_try_advisory_lock_shared(leasehold._doze_class() + bucket, p_queue_id)
        then pg_advisory_unlock_shared(leasehold._doze_class() + bucket, p_queue_id)
      else false
    end
    order by random()
    limit p_jobs
  );
  if v_buckets = '{}' or pg_notification_queue_usage() >= 0.5 then
    return;
  end if;
  if p_jobs >= leasehold._buckets() then
    perform pg_notify('leasehold', 'ready:' || p_queue_id);
  else
    perform pg_notify('leasehold', 'ready:' || p_queue_id || ':' || bucket)
    from unnest(v_buckets) as bucket;
  end if;
end;
$$;
