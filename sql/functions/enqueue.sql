create or replace function leasehold.enqueue(
  p_queue text,
  p_payload jsonb,
  p_priority integer default 5,
  p_run_at timestamptz default null,
  p_delay interval default null,
  p_dedup_key text default null,
  p_dedup_window interval default interval '1 hour',
  p_headers jsonb default null,
  p_max_failures integer default null,
  p_max_losses integer default null,
  p_max_runtime interval default null,
  p_time_to_live interval default null
)
  returns bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_id integer;
  v_time_to_live interval;
  v_max_bytes integer;
  v_bytes integer;
  v_slots bigint;
  v_now timestamptz;
  v_block bigint;
  v_claimed boolean;
  v_job_id bigint;
begin
  -- Most jobs are a payload and no more: with nothing to check but its size, and one place to go to, that
  -- is half of what the way for all others takes.
  if p_payload is not null and p_priority = 5
    and num_nonnulls(
      p_run_at, p_delay, p_dedup_key, p_headers, p_max_failures, p_max_losses, p_max_runtime,
      p_time_to_live
    ) = 0
  then
    perform leasehold._require_writable();
    select queue.queue_id, queue.time_to_live, queue.max_payload_bytes, queue.waiting_slots
    into v_queue_id, v_time_to_live, v_max_bytes, v_slots
    from leasehold.queue as queue
    where queue.name = p_queue
      and queue.dropped_at is null;
    if not found then
      -- It says why not, unless somebody has created the queue just now.
      select queue.queue_id, queue.time_to_live, queue.max_payload_bytes, queue.waiting_slots
      into v_queue_id, v_time_to_live, v_max_bytes, v_slots
      from leasehold._queue(p_queue) as queue;
    end if;
    v_bytes := octet_length(p_payload::text);
    if v_bytes > v_max_bytes then
      perform leasehold._require_size(leasehold._queue(p_queue), v_bytes);
    end if;

    v_now := leasehold._now();
    v_block := leasehold._block(leasehold._last_id() + 1);
    v_claimed := leasehold._claim_block(v_block);
    insert into leasehold.job (enqueued_at, queue_id, priority, bytes, payload)
    values (v_now, v_queue_id, p_priority, case when v_bytes >= 256 then v_bytes end, p_payload)
    returning job_id into v_job_id;

    insert into leasehold.ready (
      job_id, live_until, queue_id, attempt, releases, failures, losses, priority, returned
    )
    values (
      v_job_id, v_now + v_time_to_live, v_queue_id, 0, 0, 0, 0, p_priority,
      not v_claimed or leasehold._block(v_job_id) <> v_block
    );
    perform leasehold._wake(v_queue_id, 1, v_slots);
    return v_job_id;
  end if;

  return (leasehold._enqueue(p_queue, array[row(
    p_payload, p_headers, p_priority, p_run_at, p_delay, p_dedup_key, p_dedup_window,
    p_max_failures, p_max_losses, p_max_runtime, p_time_to_live
  )::leasehold._new_job]))[1];
end;
$$;

comment on function leasehold.enqueue(
  text, jsonb, integer, timestamptz, interval, text, interval, jsonb, integer, integer, interval, interval
) is
$doc$Adds a job to a queue, in the caller's transaction: it exists if and only if that commits.

p_queue         the queue; create_queue makes one
p_payload       what the handler gets: any JSON, at most 1 MiB as text by default
p_priority      0 (first) to 9 (last)
p_run_at        not before this instant; null: now
p_delay         the same as a span from now, 0 to 3660 days; excludes p_run_at
p_dedup_key     1 to 255 bytes: while the key is taken, enqueueing it again returns the job that took it
p_dedup_window  how long the key stays taken after the job has ended, counted from now, 0 to 366 days;
                it is always taken while the job is live
p_headers       an object for what is not the handler's business: trace ids, tenant
p_max_failures  the failure that makes it dead, from 1; null: the queue's
p_max_losses    the loss that makes it dead, from 1; null: the queue's
p_max_runtime   longest time one attempt may run, 1 second to 366 days; null: the queue's
p_time_to_live  how long it may wait for its first start once it is due, 1 second to 3660 days; null: the queue's

Returns the job id. Works at every isolation level. It may notify sessions that wait for jobs, after which PostgreSQL
refuses PREPARE TRANSACTION: "set local leasehold.notify = 'off'" keeps it silent, and polls find the job.
Raises LH005 queue_not_found, LH007 read_only, LH008 payload_too_large, 22023.
Waits up to 10 seconds for another transaction that enqueues the same dedup key, then raises 55P03. Not safe to repeat without a dedup key; with one, a repeat returns the same id.$doc$;
