create or replace function leasehold.enqueue_many(
  p_queue text,
  p_jobs jsonb
)
  returns bigint[]
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  c_keys constant text[] := array[
    'payload', 'headers', 'priority', 'run_at', 'delay', 'dedup_key', 'dedup_window',
    'max_failures', 'max_losses', 'max_runtime', 'time_to_live'
  ];
  v_jobs leasehold._new_job[];
  v_are_jobs boolean;
  v_are_plain boolean;
  v_payloads jsonb[];
  v_unknown text;
begin
  if p_jobs is null or jsonb_typeof(p_jobs) <> 'array' then
    raise exception 'jobs must be an array of objects' using errcode = 'invalid_parameter_value';
  end if;
  perform leasehold._require_number('number of jobs', jsonb_array_length(p_jobs), 0, 10000);
  select
    bool_and(jsonb_typeof(item) = 'object' and item ? 'payload'),
    bool_and(jsonb_typeof(item) = 'object' and item - 'payload' = '{}'),
    array_agg(item -> 'payload')
  into v_are_jobs, v_are_plain, v_payloads
  from jsonb_array_elements(p_jobs) as item;
  if not v_are_jobs then
    raise exception 'every job must be an object with a payload'
      using errcode = 'invalid_parameter_value';
  end if;
  if v_are_plain then
    return leasehold._enqueue_plain(p_queue, v_payloads);
  end if;
  select key into v_unknown
  from jsonb_array_elements(p_jobs) as item
  cross join lateral jsonb_object_keys(item - c_keys) as key
  limit 1;
  if found then
    raise exception 'unknown key "%" in a job', left(v_unknown, 255)
      using errcode = 'invalid_parameter_value',
        hint = 'Known are: ' || array_to_string(c_keys, ', ') || '.';
  end if;

  select array_agg(
    row(
      item -> 'payload',
      nullif(item -> 'headers', 'null'),
      coalesce((item ->> 'priority')::integer, 5),
      (item ->> 'run_at')::timestamptz,
      (item ->> 'delay')::interval,
      item ->> 'dedup_key',
      coalesce((item ->> 'dedup_window')::interval, interval '1 hour'),
      (item ->> 'max_failures')::integer,
      (item ->> 'max_losses')::integer,
      (item ->> 'max_runtime')::interval,
      (item ->> 'time_to_live')::interval
    )::leasehold._new_job
    order by ordinality
  ) into v_jobs
  from jsonb_array_elements(p_jobs) with ordinality as element (item, ordinality);

  return coalesce(leasehold._enqueue(p_queue, coalesce(v_jobs, '{}')), '{}');
end;
$$;

comment on function leasehold.enqueue_many(text, jsonb) is
$doc$Adds up to 10,000 jobs to a queue, all or none, in the caller's transaction.

p_queue  the queue; create_queue makes one
p_jobs   an array of objects: payload, and any of headers, priority, run_at, delay, dedup_key,
         dedup_window, max_failures, max_losses, max_runtime, time_to_live, as enqueue takes them;
         spans as text that PostgreSQL reads as an interval ("90 seconds", "PT1H")

Returns the job ids in the order given; the id of the job that has the key, where a dedup key is taken.
Waits up to 10 seconds for another transaction that enqueues one of the dedup keys, then raises 55P03.
Raises LH005 queue_not_found, LH007 read_only, LH008 payload_too_large, 22023, and 22P02, 22003, 22007, 22008 or
22015 for a value that cannot be read as a number, span or instant. Works at every isolation level.$doc$;
