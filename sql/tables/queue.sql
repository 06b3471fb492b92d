create table leasehold.queue (
  queue_id integer generated always as identity primary key,
  name text not null,
  lease_duration interval not null default interval '60 seconds',
  max_failures integer not null default 10,
  max_losses integer not null default 3,
  backoff_base interval not null default interval '1 second',
  backoff_max interval not null default interval '1 hour',
  max_runtime interval,
  time_to_live interval,
  keep_completed interval not null default interval '24 hours',
  keep_dead interval not null default interval '720 hours',
  max_payload_bytes integer not null default 1048576,
  waiting_slots bigint not null default 0,
  paused_at timestamptz,
  dropped_at timestamptz,
  created_at timestamptz not null default pg_catalog.clock_timestamp(),
  constraint queue_name_is_unique unique (name),
  constraint queue_backoff_grows check (backoff_base <= backoff_max)
);

comment on table leasehold.queue is
$doc$A named stream of jobs with its defaults. A job that names no value of its own follows
the queue, also when the queue's default changes later.$doc$;

comment on column leasehold.queue.queue_id is 'what the narrow tables carry instead of the name';
comment on column leasehold.queue.lease_duration is 'length of a lease when lease_jobs names none';
comment on column leasehold.queue.max_failures is 'the failure that makes a job dead: the tenth by default';
comment on column leasehold.queue.max_losses is 'the loss that makes a job dead: the third by default';
comment on column leasehold.queue.backoff_base is 'upper end of the random delay after the first failure; doubles with each';
comment on column leasehold.queue.backoff_max is 'where the delay stops doubling';
comment on column leasehold.queue.max_runtime is 'longest time one attempt may run; null: for ever';
comment on column leasehold.queue.time_to_live is 'how long a due job may wait for its first start; null: for ever';
comment on column leasehold.queue.keep_completed is 'how long completed and cancelled jobs are kept; zero: not at all';
comment on column leasehold.queue.keep_dead is 'how long dead jobs are kept; zero: not at all';
comment on column leasehold.queue.waiting_slots is
  'bits 1 to 62: in which slots sessions that serve several queues wait for this one, or once did';
comment on column leasehold.queue.paused_at is 'while set, nothing of this queue is leased; running jobs go on';
comment on column leasehold.queue.dropped_at is
  'set by drop_queue. The row stays, so that finished jobs keep their queue''s name and a racing enqueue finds its end in prune';
