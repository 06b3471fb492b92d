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
  excused boolean not null default false,
  outcome text not null,
  error text,
  primary key (job_id, attempt),
  constraint attempt_outcome_is_known
    check (outcome in ('failed', 'expired', 'overran', 'released', 'dead_lettered', 'cancelled'))
);

create index attempt_reap_expired_idx on leasehold.attempt (worker_id)
  where outcome = 'expired' and not excused;

comment on table leasehold.attempt is
$doc$Every attempt that did not end in success, kept as long as its job. It answers repeated calls,
and holds what a late heartbeat needs to take a reaped lease back.$doc$;
comment on index leasehold.attempt_reap_expired_idx is
  'reap_expired finds what else a worker has lost, and register_worker what to take back';
comment on column leasehold.attempt.counted is 'whether it spent a failure or a loss';
comment on column leasehold.attempt.excused is
  'its lease expired, but its worker was seen afterwards: it had not vanished, so this is no lapse';
comment on column leasehold.attempt.outcome is
  'expired: taken by reap_expired; overran: the same, of a job renewed past its longest runtime, which is a failure';
comment on column leasehold.attempt.error is 'what the handler or the caller said, cut to 16,384 characters';
