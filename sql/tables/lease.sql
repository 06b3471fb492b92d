create table leasehold.lease (
  job_id bigint not null,
  fence bigint not null,
  leased_at timestamptz not null,
  heartbeat_at timestamptz not null,
  expires_at timestamptz not null,
  duration interval not null,
  token uuid not null,
  worker_id uuid not null,
  queue_id integer not null,
  attempt integer not null,
  releases integer not null,
  failures integer not null,
  losses integer not null,
  priority smallint not null,
  suspect boolean not null default false,
  runs_until timestamptz,
  cancel_requested_at timestamptz,
  request_id uuid,
  cancel_reason text,
  constraint lease_is_the_only_one_of_its_job primary key (job_id)
) with (
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0
);

create index lease_lease_jobs_idx on leasehold.lease (worker_id) where suspect;

comment on table leasehold.lease is
$doc$Jobs somebody works on. The primary key is guarantee G2: a job has one current lease.
No index knows a column that a heartbeat changes and pages are half empty, so renewals stay on their page.$doc$;
comment on index leasehold.lease_is_the_only_one_of_its_job is 'every function that is shown a token finds its lease here';
comment on index leasehold.lease_lease_jobs_idx is 'lease_jobs sees whether a worker holds a suspect; empty as a rule';
comment on column leasehold.lease.fence is 'epoch of the server in the high 32 bits, attempt in the low: grows with every lease of the job';
comment on column leasehold.lease.heartbeat_at is 'last sign of life for this job';
comment on column leasehold.lease.runs_until is 'leased_at plus the longest runtime; renewals stop one lease length later; null: never';
comment on column leasehold.lease.token is 'proof of the lease, known to its holder alone';
comment on column leasehold.lease.request_id is 'the lease_jobs call that made it, so that the call can be repeated';
comment on column leasehold.lease.duration is 'length asked for at lease time, added to now by a heartbeat';
comment on column leasehold.lease.attempt is 'leases so far, this one included';
comment on column leasehold.lease.suspect is 'as in ready';
