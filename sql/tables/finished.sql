create table leasehold.finished (
  job_id bigint not null,
  finished_at timestamptz not null,
  keep_until timestamptz not null,
  leased_at timestamptz,
  live_until timestamptz,
  token uuid,
  worker_id uuid,
  queue_id integer not null,
  attempt integer not null,
  releases integer not null,
  failures integer not null,
  losses integer not null,
  priority smallint not null,
  late boolean not null default false,
  outcome text not null,
  reason text,
  result jsonb,
  constraint finished_outcome_is_known check (outcome in ('completed', 'dead', 'cancelled'))
) partition by range (keep_until);

create table leasehold.finished_default partition of leasehold.finished default;

create index finished_job_idx on leasehold.finished (queue_id, job_id);

comment on table leasehold.finished is
$doc$Jobs that have ended, partitioned by the day (UTC) after which they go, so that completed and dead
jobs of any retention leave by dropping a table. Payload, attempts and checkpoint go with them.$doc$;
comment on index leasehold.finished_job_idx is 'job, peek and every repeated call find the end of a job here';
comment on table leasehold.finished_default is 'takes rows for whose day prune has made no partition yet';
comment on column leasehold.finished.token is
  'the token that ended it; null: no holder did. The same call with the same token is answered from here';
comment on column leasehold.finished.late is 'completed after the lease had expired, before anybody else leased the job';
comment on column leasehold.finished.reason is 'why dead or cancelled';
