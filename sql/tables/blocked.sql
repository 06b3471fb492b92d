create table leasehold.blocked (
  job_id bigint not null,
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

comment on table leasehold.blocked is
  'Jobs that are due but wait for a group, a limit or another job. Nothing moves jobs here yet; everything that lists, cancels or purges knows them.';
comment on column leasehold.blocked.live_until is 'when a job that was never leased becomes dead; null: never';
comment on column leasehold.blocked.attempt is 'leases so far';
comment on column leasehold.blocked.suspect is 'as in ready';
