-- Tells sessions that doze that a queue has ready jobs: one session or a few for each job, of one bucket of
-- them; all where there are many jobs. A hint: losing it costs a poll interval. A commit that carries
-- NOTIFY waits for every other such commit, so nobody is told who is awake, and nobody at all while somebody
-- watches the queue; and a full notification queue would fail the caller, so nothing is sent while it fills.
create or replace function leasehold._wake(
  p_queue_ids integer[] -- one for each job
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_id integer;
  v_jobs bigint;
  v_buckets integer[];
begin
  for v_queue_id, v_jobs in
    select queue_id, count(*) from unnest(p_queue_ids) as queue_id group by queue_id limit 100
  loop
    -- Who watches holds this lock whole: it cannot be shared.
    continue when not pg_try_advisory_lock_shared(leasehold._watch_class(), v_queue_id);
    perform pg_advisory_unlock_shared(leasehold._watch_class(), v_queue_id);

    -- Who dozes holds a bucket's lock shared: it cannot be had whole. It is held for no longer than this.
    v_buckets := array(
      select bucket
      from generate_series(0, leasehold._buckets() - 1) as bucket
      where not case
        when pg_try_advisory_lock(leasehold._doze_class() + bucket, v_queue_id)
          then pg_advisory_unlock(leasehold._doze_class() + bucket, v_queue_id)
        else false
      end
      order by random()
      limit v_jobs
    );
    continue when v_buckets = '{}' or pg_notification_queue_usage() >= 0.5;
    if v_jobs >= leasehold._buckets() then
      perform pg_notify('leasehold', 'ready:' || v_queue_id);
    else
      perform pg_notify('leasehold', 'ready:' || v_queue_id || ':' || bucket)
      from unnest(v_buckets) as bucket;
    end if;
  end loop;
end;
$$;
