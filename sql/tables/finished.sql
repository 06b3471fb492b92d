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
  constraint finished_is_the_only_end_of_its_job primary key (queue_id, job_id),
  constraint finished_outcome_is_known check (outcome in ('completed', 'dead', 'cancelled'))
);

create index finished_prune_idx on leasehold.finished (keep_until);

comment on table leasehold.finished is
$doc$Jobs that have ended, until their retention has passed. Payload, attempts and checkpoint go with them.$doc$;
comment on index leasehold.finished_is_the_only_end_of_its_job is
  'job, peek and every repeated call find the end of a job here';
comment on index leasehold.finished_prune_idx is 'prune finds what is past its retention';
comment on column leasehold.finished.token is
  'the token that ended it; null: no holder did. The same call with the same token is answered from here';
comment on column leasehold.finished.late is 'completed after the lease had expired, before anybody else leased the job';
comment on column leasehold.finished.reason is 'why dead or cancelled';
