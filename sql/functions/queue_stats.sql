create or replace function leasehold.queue_stats(p_queue text default null)
  returns setof leasehold.queue_stat
  language plpgsql
  stable
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_queue is not null then
    perform leasehold._queue(p_queue);
  end if;

  return query
  select
    queue.name,
    queue.paused_at is not null,
    (select count(*) from leasehold.scheduled as scheduled where scheduled.queue_id = queue.queue_id),
    (select count(*) from leasehold.ready as ready where ready.queue_id = queue.queue_id),
    (select count(*) from leasehold.blocked as blocked where blocked.queue_id = queue.queue_id),
    (select count(*) from leasehold.lease as lease where lease.queue_id = queue.queue_id),
    ended.completed,
    ended.dead,
    ended.cancelled,
    (select coalesce(sum(tally.pruned), 0)::bigint from leasehold.tally as tally
      where tally.queue_id = queue.queue_id),
    (
      -- The first of each priority is its oldest: ids grow with time and returning jobs keep theirs.
      select leasehold._now() - min(job.enqueued_at)
      from generate_series(0, 9) as level
      cross join lateral (
        select ready.job_id
        from leasehold.ready as ready
        where ready.queue_id = queue.queue_id
          and ready.priority = level
        order by ready.job_id
        limit 1
      ) as oldest
      join leasehold.job as job on job.job_id = oldest.job_id
    ),
    (
      select count(*)
      from leasehold.worker as worker
      where queue.name = any (worker.queues)
        and worker.heartbeat_at > leasehold._now() - interval '2 minutes'
    )
  from leasehold.queue as queue
  cross join lateral (
    select
      count(*) filter (where finished.outcome = 'completed') as completed,
      count(*) filter (where finished.outcome = 'dead') as dead,
      count(*) filter (where finished.outcome = 'cancelled') as cancelled
    from leasehold.finished as finished
    where finished.queue_id = queue.queue_id
  ) as ended
  where queue.dropped_at is null
    and (p_queue is null or queue.name = p_queue)
  order by queue.name;
end;
$$;

comment on function leasehold.queue_stats(text) is
$doc$Counts the jobs of every queue, or of one, by where they are.

p_queue  the queue; null: all

One row a queue, by name. A queue with an old oldest_ready_age and no workers is served by nobody.
workers counts processes seen within two minutes. Counting reads every row of a position: not for a tight loop.
Raises LH005 queue_not_found.$doc$;
