create type leasehold._new_job as (
  payload jsonb,
  headers jsonb,
  priority integer,
  run_at timestamptz,
  delay interval,
  dedup_key text,
  dedup_window interval,
  max_failures integer,
  max_losses integer,
  max_runtime interval,
  time_to_live interval
);

comment on type leasehold._new_job is 'What enqueue and enqueue_many hand to _enqueue.';
