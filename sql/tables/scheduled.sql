create table leasehold.scheduled (
  job_id bigint not null,
  run_at timestamptz not null,
  live_until timestamptz,
  queue_id integer not null,
  attempt integer not null,
  releases integer not null,
  failures integer not null,
  losses integer not null,
  priority smallint not null,
  suspect boolean not null default false,
  primary key (queue_id, job_id)
) with (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);

create index scheduled_promote_due_idx on leasehold.scheduled (run_at);
create index scheduled_reap_expired_idx on leasehold.scheduled (live_until) where live_until is not null;

comment on table leasehold.scheduled is
  'Jobs that may not run before run_at: enqueued for later, waiting after a failure, or released with a delay.';
comment on index leasehold.scheduled_promote_due_idx is 'promote_due finds what has become due';
comment on index leasehold.scheduled_reap_expired_idx is 'reap_expired finds jobs whose time to live has passed before their first start';
comment on column leasehold.scheduled.live_until is 'when a job that was never leased becomes dead; null: never';
comment on column leasehold.scheduled.attempt is 'leases so far';
comment on column leasehold.scheduled.suspect is 'as in ready';
