create table leasehold.ready (
  job_id bigint not null,
  live_until timestamptz,
  token uuid,
  queue_id integer not null,
  attempt integer not null,
  releases integer not null,
  failures integer not null,
  losses integer not null,
  priority smallint not null,
  returned boolean not null default true,
  suspect boolean not null default false,
  constraint ready_lease_jobs_idx primary key (queue_id, priority, job_id)
) with (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);

create index ready_returned_idx on leasehold.ready (queue_id, priority, job_id) where returned;
create index ready_suspect_idx on leasehold.ready (queue_id, priority, job_id) where suspect;
create index ready_reap_expired_idx on leasehold.ready (live_until) where live_until is not null;

comment on table leasehold.ready is
$doc$Jobs that may run now, and no others: lease_jobs is one walk of its key, whatever waits elsewhere.
A job that comes back keeps its job_id, so it runs before later ones of its priority.$doc$;
comment on index leasehold.ready_lease_jobs_idx is 'lease_jobs walks it in the order of the line';
comment on index leasehold.ready_returned_idx is 'lease_jobs finds what may stand below the mark';
comment on index leasehold.ready_suspect_idx is 'lease_jobs finds the suspect that a worker may have; empty as a rule';
comment on index leasehold.ready_reap_expired_idx is 'reap_expired finds jobs whose time to live has passed before their first start';
comment on column leasehold.ready.live_until is 'when a job that was never leased becomes dead; null: never';
comment on column leasehold.ready.token is
  'the newest token, of a lease that was reaped: honoured until somebody leases the job; null: none is';
comment on column leasehold.ready.attempt is 'leases so far';
comment on column leasehold.ready.returned is 'false: came straight from its enqueue, so it stands where its id says, above the mark';
comment on column leasehold.ready.suspect is
  'it has lapsed twice or more, so it may be what kills its workers: a worker holds one such job at a time';
