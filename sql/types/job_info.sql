create type leasehold.job_info as (
  job_id bigint,
  queue text,
  state text,
  priority smallint,
  generation integer,
  attempt integer,
  failures integer,
  losses integer,
  releases integer,
  payload jsonb,
  headers jsonb,
  dedup_key text,
  enqueued_at timestamptz,
  run_at timestamptz,
  live_until timestamptz,
  worker_id uuid,
  host text,
  pid integer,
  leased_at timestamptz,
  remaining interval,
  heartbeat_age interval,
  cancel_requested boolean,
  checkpoint jsonb,
  checkpoint_age interval,
  finished_at timestamptz,
  reason text,
  result jsonb,
  late boolean,
  history jsonb
);

comment on type leasehold.job_info is
$doc$Where a job is and what happened to it. state is its position (scheduled, ready, blocked, leased)
or its outcome (completed, dead, cancelled). remaining is negative for a lease that has expired and
has not been reaped. history lists the newest attempts that did not end in success, the older ones first.$doc$;
