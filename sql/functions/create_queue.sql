create or replace function leasehold.create_queue(
  p_queue text,
  p_lease interval default null,
  p_max_failures integer default null,
  p_max_losses integer default null,
  p_backoff_base interval default null,
  p_backoff_max interval default null,
  p_max_runtime interval default null,
  p_time_to_live interval default null,
  p_keep_completed interval default null,
  p_keep_dead interval default null,
  p_max_payload_bytes integer default null
)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_is_new boolean;
begin
  perform leasehold._require_writable();
  if p_queue is null then
    raise exception 'queue name must not be null' using errcode = 'invalid_parameter_value';
  end if;
  if octet_length(p_queue) not between 1 and 255 or p_queue ~ '[[:cntrl:]]' or p_queue ~ '^[[:space:]]|[[:space:]]$' then
    raise exception 'queue name must have 1 to 255 bytes, no control characters and no space at its ends'
      using errcode = 'invalid_parameter_value';
  end if;
  perform
    leasehold._require_number('max failures', p_max_failures, 1, 1000000),
    leasehold._require_number('max losses', p_max_losses, 1, 1000000),
    leasehold._require_number('max payload bytes', p_max_payload_bytes, 1, 104857600);
  p_lease := leasehold._require_span('lease', p_lease, interval '1 second', interval '1 day');
  p_backoff_base := leasehold._require_span('backoff base', p_backoff_base, interval '0', interval '366 days');
  p_backoff_max := leasehold._require_span('backoff max', p_backoff_max, interval '0', interval '366 days');
  p_keep_completed := leasehold._require_span(
    'keep completed', p_keep_completed, interval '0', interval '3660 days'
  );
  p_keep_dead := leasehold._require_span('keep dead', p_keep_dead, interval '0', interval '3660 days');
  -- Zero takes a limit away again, which null, "leave it", cannot say.
  if p_max_runtime <> interval '0' then
    p_max_runtime := leasehold._require_span(
      'max runtime', p_max_runtime, interval '1 second', interval '366 days'
    );
  end if;
  if p_time_to_live <> interval '0' then
    p_time_to_live := leasehold._require_span(
      'time to live', p_time_to_live, interval '1 second', interval '3660 days'
    );
  end if;

  v_lock_timeout := leasehold._limit_waits();
  with added as (
    insert into leasehold.queue as queue (name) values (p_queue) on conflict do nothing
    returning queue.queue_id
  )
  insert into leasehold.mark (queue_id, job_ids)
  select added.queue_id, array_fill(0::bigint, array[10]) from added;
  v_is_new := found;

  update leasehold.queue as queue
  set
    lease_duration = coalesce(p_lease, queue.lease_duration),
    max_failures = coalesce(p_max_failures, queue.max_failures),
    max_losses = coalesce(p_max_losses, queue.max_losses),
    backoff_base = coalesce(p_backoff_base, least(queue.backoff_base, p_backoff_max)),
    backoff_max = coalesce(p_backoff_max, greatest(queue.backoff_max, p_backoff_base)),
    max_runtime = nullif(coalesce(p_max_runtime, queue.max_runtime), interval '0'),
    time_to_live = nullif(coalesce(p_time_to_live, queue.time_to_live), interval '0'),
    keep_completed = coalesce(p_keep_completed, queue.keep_completed),
    keep_dead = coalesce(p_keep_dead, queue.keep_dead),
    max_payload_bytes = coalesce(p_max_payload_bytes, queue.max_payload_bytes),
    dropped_at = null
  where queue.name = p_queue;
  perform set_config('lock_timeout', v_lock_timeout, true);

  return v_is_new;
exception
  when check_violation then
    raise exception 'backoff base must not be longer than backoff max'
      using errcode = 'invalid_parameter_value';
end;
$$;

comment on function leasehold.create_queue(
  text, interval, integer, integer, interval, interval, interval, interval, interval, interval, integer
) is
$doc$Creates a queue, or changes the defaults of one that exists.

p_queue              its name: 1 to 255 bytes, no control characters
p_lease              length of a lease, 1 second to 1 day; 60 seconds
p_max_failures       the failure that makes a job dead, from 1; 10
p_max_losses         the loss (the worker vanished) that makes a job dead, from 1; 3
p_backoff_base       the delay after failure n is random between 0 and base * 2^(n-1); 1 second
p_backoff_max        where that stops growing; 1 hour
p_max_runtime        longest time one attempt may run, 1 second to 366 days, zero: for ever; for ever
p_time_to_live       how long a due job may wait for its first start, 1 second to 3660 days, zero: for ever; for ever
p_keep_completed     how long completed and cancelled jobs are kept, zero: not at all; 1 day
p_keep_dead          how long dead jobs are kept, zero: not at all; 30 days
p_max_payload_bytes  largest payload as text; 1048576

Returns whether it is new: false if there was one of that name, dropped ones included.
Spans are kept as hours: a day is 24 of them, a month 30 days, a year 365.25 days.
A null leaves what is: the default named last, or what an earlier call set. Jobs that name no value of
their own follow the queue, those enqueued before included. A new retention is for jobs that end after it.
Waits up to 10 seconds for another transaction that creates or changes the queue, then raises 55P03.
Raises LH007 read_only, 22023. Safe to repeat.$doc$;
