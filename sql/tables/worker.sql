create table leasehold.worker (
  worker_id uuid primary key,
  started_at timestamptz not null,
  heartbeat_at timestamptz not null,
  pid integer,
  concurrency integer,
  secret uuid,
  host text,
  client_version text,
  queues text[] not null
) with (fillfactor = 50);

comment on table leasehold.worker is
  'Processes that lease, a new id at every boot. Tells people who serves what, and the reaper that the database could be reached.';
comment on column leasehold.worker.secret is
  'what only the process knows: without it nobody can say that it is there; null: anybody can, and it excuses nothing';
comment on column leasehold.worker.queues is 'the queues it has handlers for';
comment on column leasehold.worker.heartbeat_at is 'last sign of life of the process, whether it holds jobs or not';
