create table leasehold.attempt (
  job_id bigint not null,
  fence bigint not null,
  leased_at timestamptz not null,
  heartbeat_at timestamptz not null,
  expires_at timestamptz not null,
  ended_at timestamptz not null,
  runs_until timestamptz,
  token uuid not null,
  worker_id uuid not null,
  duration interval not null,
  attempt integer not null,
  counted boolean not null,
  outcome text not null,
  error text,
  primary key (job_id, attempt),
  constraint attempt_outcome_is_known
    check (outcome in ('failed', 'expired', 'released', 'dead_lettered', 'cancelled'))
);

comment on table leasehold.attempt is
$doc$Every attempt that did not end in success, kept as long as its job. It answers repeated calls,
and holds what a late heartbeat needs to take a reaped lease back.$doc$;
comment on column leasehold.attempt.counted is 'whether it spent a failure or a loss';
comment on column leasehold.attempt.error is 'what the handler or the caller said, cut to 16,384 characters';
