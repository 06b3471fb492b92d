-- Everything there is to say about jobs, in the order of the ids given. Of their history, so many of the
-- newest entries before an attempt, with errors cut to so many characters.
create or replace function leasehold._job_infos(
  p_job_ids bigint[],
  p_history integer,
  p_before integer,
  p_error_characters integer
)
  returns setof leasehold.job_info
  language sql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
  select
    job.job_id,
    queue.name,
    coalesce(live.state, finished.outcome),
    job.priority,
    job.generation,
    coalesce(live.attempt, finished.attempt),
    coalesce(live.failures, finished.failures),
    coalesce(live.losses, finished.losses),
    coalesce(live.releases, finished.releases),
    job.payload,
    job.headers,
    job.dedup_key,
    job.enqueued_at,
    live.run_at,
    coalesce(live.live_until, finished.live_until),
    coalesce(live.worker_id, finished.worker_id),
    worker.host,
    worker.pid,
    coalesce(live.leased_at, finished.leased_at),
    live.expires_at - leasehold._now(),
    leasehold._now() - live.heartbeat_at,
    live.cancel_requested_at is not null,
    checkpoint.data,
    leasehold._now() - checkpoint.saved_at,
    finished.finished_at,
    finished.reason,
    finished.result,
    finished.late,
    (
      select jsonb_agg(
        jsonb_build_object(
          'attempt', attempt.attempt,
          'outcome', attempt.outcome,
          'counted', attempt.counted,
          'error', left(attempt.error, p_error_characters),
          'worker_id', attempt.worker_id,
          'leased_at', attempt.leased_at,
          'ended_at', attempt.ended_at
        )
        order by attempt.attempt
      )
      from (
        select attempt.*
        from leasehold.attempt as attempt
        where attempt.job_id = job.job_id
          and attempt.attempt < coalesce(p_before::bigint, 9223372036854775807)
        order by attempt.attempt desc
        limit p_history
      ) as attempt
    )
  from unnest(p_job_ids) with ordinality as wanted (job_id, ordinality)
  join leasehold.job as job on job.job_id = wanted.job_id
  join leasehold.queue as queue on queue.queue_id = job.queue_id
  left join leasehold._live as live
    on live.job_id = job.job_id
    and live.queue_id = job.queue_id
    and live.priority = job.priority
  left join leasehold.finished as finished
    on finished.queue_id = job.queue_id
    and finished.job_id = job.job_id
  left join leasehold.worker as worker
    on worker.worker_id = coalesce(live.worker_id, finished.worker_id)
  left join leasehold.checkpoint as checkpoint on checkpoint.job_id = job.job_id
  order by wanted.ordinality
$$;
