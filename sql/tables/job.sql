create table leasehold.job (
  job_id bigint generated always as identity primary key,
  enqueued_at timestamptz not null,
  queue_id integer not null,
  priority smallint not null,
  generation integer not null default 1,
  redriven_after integer,
  bytes integer,
  max_failures integer,
  max_losses integer,
  max_runtime interval,
  payload jsonb not null,
  headers jsonb,
  dedup_key text,
  constraint job_priority_in_range check (priority between 0 and 9)
);

comment on table leasehold.job is
$doc$One piece of work, written once at enqueue and read at every lease. Where it stands in line
is not here: a narrow row in scheduled, ready, blocked, lease or finished says that.
No foreign key leads to queue: a hot parent row would gather every writer's lock.$doc$;

comment on column leasehold.job.priority is '0 is first, 9 is last';
comment on column leasehold.job.generation is 'how often the job began anew: 1, and one more with every redrive';
comment on column leasehold.job.redriven_after is 'the last attempt before the newest redrive; null: there was none';
comment on column leasehold.job.bytes is
  'size of payload and headers as text, by which lease_jobs bounds its answer; null: under 256';
comment on column leasehold.job.max_failures is 'null: the queue''s';
comment on column leasehold.job.max_losses is 'null: the queue''s';
comment on column leasehold.job.max_runtime is 'null: the queue''s';
comment on column leasehold.job.headers is 'what the enqueuer says about the job, an object: trace ids, tenant, content type';
