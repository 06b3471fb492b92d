-- generated from sql/ by npm run migration:refresh; edit above this line only

-- begin sql/schema.sql
-- Types, functions and operators below are PostgreSQL's own, whatever the session's path begins with.
set local search_path = pg_catalog;

-- Asked first, since "if not exists" wants the right to create even where the schema is there.
do $do$
begin
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'leasehold needs a database of encoding UTF8, this one has %',
      current_setting('server_encoding')
      using errcode = 'invalid_parameter_value';
  end if;
  if to_regnamespace('leasehold') is null then
    create schema leasehold;
  end if;
  if (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = 'leasehold') then
    comment on schema leasehold is
$doc$A job queue for long-running work: jobs are leased, renewed by heartbeats, completed.
Everything is done by calling the functions; the tables are theirs alone.$doc$;
  end if;
end;
$do$;
-- end sql/schema.sql

-- begin sql/internal/_now.sql
-- The only clock. A body of SQL standard form is inlined, so it costs nothing,
-- and a test may replace it inside its own transaction.
create or replace function leasehold._now()
  returns timestamptz
  language sql
  volatile
  parallel safe
return pg_catalog.clock_timestamp();
-- end sql/internal/_now.sql

-- begin sql/tables/queue.sql
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
-- end sql/tables/queue.sql

-- begin sql/tables/job.sql
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
-- end sql/tables/job.sql

-- begin sql/tables/scheduled.sql
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
-- end sql/tables/scheduled.sql

-- begin sql/tables/ready.sql
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
-- end sql/tables/ready.sql

-- begin sql/tables/mark.sql
create table leasehold.mark (
  queue_id integer primary key,
  job_ids bigint[] not null,
  open_blocks bigint[] not null default '{}',
  constraint mark_has_a_place_for_every_priority check (cardinality(job_ids) = 10)
) with (
  fillfactor = 50
);

comment on table leasehold.mark is
$doc$Where the line of each priority begins: with a smaller id there are only jobs that returned, which have an
index of their own, and those of open blocks. So lease_jobs walks past what was there once and cannot be removed
yet, only now and then. Moves if a look for jobs has become slow; back only if ids begin anew.$doc$;
comment on column leasehold.mark.job_ids is 'for priority 0 to 9';
comment on column leasehold.mark.open_blocks is
  'blocks of 4096 ids in which a transaction had yet to commit jobs when the mark passed them: they are walked, too';
-- end sql/tables/mark.sql

-- begin sql/tables/blocked.sql
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
-- end sql/tables/blocked.sql

-- begin sql/tables/lease.sql
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
-- end sql/tables/lease.sql

-- begin sql/tables/finished.sql
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
-- end sql/tables/finished.sql

-- begin sql/tables/attempt.sql
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
-- end sql/tables/attempt.sql

-- begin sql/tables/checkpoint.sql
create table leasehold.checkpoint (
  job_id bigint primary key,
  saved_at timestamptz not null,
  attempt integer not null,
  data jsonb not null
);

comment on table leasehold.checkpoint is
  'What the handler saved last, for the next attempt to resume from. Apart from lease, so that plain renewals stay narrow.';
comment on column leasehold.checkpoint.attempt is 'the attempt that saved it';
-- end sql/tables/checkpoint.sql

-- begin sql/tables/dedup.sql
create table leasehold.dedup (
  job_id bigint not null,
  expires_at timestamptz not null,
  queue_id integer not null,
  dedup_key text not null,
  constraint dedup_key_is_taken_once_a_queue primary key (queue_id, dedup_key)
);

comment on table leasehold.dedup is
  'Keys that enqueue has seen: taken until expires_at, and in any case while their job is live.';
comment on index leasehold.dedup_key_is_taken_once_a_queue is 'enqueue finds the job of a key; two at once wait for each other here';
-- end sql/tables/dedup.sql

-- begin sql/tables/request.sql
create table leasehold.request (
  request_id uuid primary key,
  requested_at timestamptz not null
) with (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 10000
);

comment on table leasehold.request is
$doc$lease_jobs calls of the last minutes. A call that is repeated finds itself here and returns
the leases it made; one that runs twice at once waits here for its twin.$doc$;
-- end sql/tables/request.sql

-- begin sql/tables/worker.sql
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
-- end sql/tables/worker.sql

-- begin sql/tables/outage.sql
create table leasehold.outage (
  started_at timestamptz not null,
  ended_at timestamptz not null,
  primary key (started_at, ended_at),
  constraint outage_ends_after_it_starts check (started_at < ended_at)
);

comment on table leasehold.outage is
$doc$Stretches in which leases expired while nobody looked, or while no worker was seen: the database was away,
or its clock was set. What expired in one is left alone for one more length, so that its worker can come back.$doc$;
-- end sql/tables/outage.sql

-- begin sql/tables/tally.sql
create table leasehold.tally (
  job_id bigint not null,
  pruned bigint not null,
  queue_id integer not null,
  primary key (queue_id, job_id)
);

comment on table leasehold.tally is
$doc$Counts of jobs that left no row behind. Each batch adds a row of its own, so that nobody waits for a counter;
prune folds the rows into one a queue.$doc$;
comment on column leasehold.tally.job_id is 'one of the jobs that are counted here, to tell the rows apart';
comment on column leasehold.tally.pruned is 'jobs removed: kept for no time, past their retention, or purged';
-- end sql/tables/tally.sql

-- begin sql/tables/upkeep.sql
create table leasehold.upkeep (
  task text primary key,
  last_run_at timestamptz not null default '-infinity',
  due_at timestamptz not null default '-infinity',
  done_until timestamptz not null default '-infinity',
  next_page bigint not null default 0,
  failures integer not null default 0,
  seen_at timestamptz,
  error text
) with (fillfactor = 10);

insert into leasehold.upkeep (task)
values ('promote'), ('reap'), ('finished'), ('dropped'), ('dedup'), ('request'), ('worker'), ('tally'), ('look'), ('mark')
on conflict do nothing;

comment on table leasehold.upkeep is
$doc$The tasks of maintenance: when each is due, so that a hundred processes do it no more often than one,
how far it has come, and whether it fails. look is none of them: when a reaper last looked for expired leases.$doc$;
comment on column leasehold.upkeep.last_run_at is 'when it last succeeded; in the future: the clock was set back';
comment on column leasehold.upkeep.due_at is 'not before; a task that failed waits longer';
comment on column leasehold.upkeep.done_until is
  'where the look for rows of finished begins: what is before has been removed, though not from the index yet';
comment on column leasehold.upkeep.next_page is 'the page of the table where the next look begins';
comment on column leasehold.upkeep.seen_at is 'look only: the newest sign of life of any worker that the reaper knew of';
comment on column leasehold.upkeep.failures is 'failures in a row';
comment on column leasehold.upkeep.error is 'the last of them';
-- end sql/tables/upkeep.sql

-- begin sql/types/leased_job.sql
create type leasehold.leased_job as (
  job_id bigint,
  queue text,
  priority smallint,
  payload jsonb,
  headers jsonb,
  token uuid,
  fence bigint,
  attempt integer,
  failures integer,
  losses integer,
  releases integer,
  checkpoint jsonb,
  lease_duration interval,
  remaining interval,
  max_runtime interval,
  enqueued_at timestamptz,
  expires_at timestamptz
);

comment on type leasehold.leased_job is
$doc$A job as its worker gets it. token proves the lease; fence is for other stores to compare;
attempt counts leases, this one included; checkpoint is what an earlier attempt saved, or null;
remaining is the span until expires_at, for workers that do not trust their clock.$doc$;
-- end sql/types/leased_job.sql

-- begin sql/types/heartbeat_answer.sql
create type leasehold.heartbeat_answer as (
  job_id bigint,
  status text,
  remaining interval,
  cancel_requested boolean,
  cancel_reason text
);

comment on type leasehold.heartbeat_answer is
$doc$What a heartbeat found. status is
  ok       renewed
  revived  the lease had expired and is current again
  busy     another transaction holds the row just now; not renewed, ask again (heartbeat_many only)
  lost     another worker has the job, or it has ended (heartbeat_many only; heartbeat raises)
remaining is the span until the lease expires, null where there is none.
cancel_requested asks the worker to stop.$doc$;
-- end sql/types/heartbeat_answer.sql

-- begin sql/types/settlement.sql
create type leasehold.settlement as (
  job_id bigint,
  status text,
  late boolean,
  retry_in interval
);

comment on type leasehold.settlement is
$doc$How an attempt ended. status is
  completed, failed, released, dead, cancelled  what this call did; failed: it will run again
  already_…                                     the same, done by an earlier call with this token
  busy                                          another transaction holds the row just now: nothing changed,
                                                ask again (_many calls only; single calls wait)
  lease_lost, job_not_found, job_cancelled, job_finished
                                                nothing changed (_many calls only; single calls raise)
late: the lease had expired, but nobody had leased the job since.
retry_in: span until the job is due again, for failed and released.$doc$;
-- end sql/types/settlement.sql

-- begin sql/types/job_info.sql
create type leasehold.job_info as (
  job_id bigint,
  queue text,
  state text,
  priority smallint,
  generation integer,
  attempt integer,
  failures integer,
  losses integer,
  releases integer,
  payload jsonb,
  headers jsonb,
  dedup_key text,
  enqueued_at timestamptz,
  run_at timestamptz,
  live_until timestamptz,
  worker_id uuid,
  host text,
  pid integer,
  leased_at timestamptz,
  remaining interval,
  heartbeat_age interval,
  cancel_requested boolean,
  checkpoint jsonb,
  checkpoint_age interval,
  finished_at timestamptz,
  reason text,
  result jsonb,
  late boolean,
  history jsonb
);

comment on type leasehold.job_info is
$doc$Where a job is and what happened to it. state is its position (scheduled, ready, blocked, leased)
or its outcome (completed, dead, cancelled). remaining is negative for a lease that has expired and
has not been reaped. history lists the newest attempts that did not end in success, the older ones first.$doc$;
-- end sql/types/job_info.sql

-- begin sql/types/queue_stat.sql
create type leasehold.queue_stat as (
  queue text,
  paused boolean,
  scheduled bigint,
  ready bigint,
  blocked bigint,
  leased bigint,
  completed bigint,
  dead bigint,
  cancelled bigint,
  pruned bigint,
  oldest_ready_age interval,
  workers bigint
);

comment on type leasehold.queue_stat is
$doc$Counts of one queue. completed, dead and cancelled are those still kept; pruned are those removed.
Their sum is what was ever enqueued. oldest_ready_age is the wait of the longest waiting ready job;
workers are the live processes with a handler for the queue.$doc$;
-- end sql/types/queue_stat.sql

-- begin sql/types/tick_answer.sql
create type leasehold.tick_answer as (
  reaped integer,
  promoted integer,
  pruned integer,
  next_due_in interval,
  workers integer,
  failed text[]
);

comment on type leasehold.tick_answer is
$doc$What one round of maintenance did. next_due_in is the span until the next scheduled job is due,
zero if there is more to do already, null if none is scheduled. workers were seen within the last minute:
if there are many, each need tick less often. failed names the tasks that failed.$doc$;
-- end sql/types/tick_answer.sql

-- begin sql/types/_new_job.sql
create type leasehold._new_job as (
  payload jsonb,
  headers jsonb,
  priority integer,
  run_at timestamptz,
  delay interval,
  dedup_key text,
  dedup_window interval,
  max_failures integer,
  max_losses integer,
  max_runtime interval,
  time_to_live interval
);

comment on type leasehold._new_job is 'What enqueue and enqueue_many hand to _enqueue.';
-- end sql/types/_new_job.sql

-- begin sql/types/_ending.sql
create type leasehold._ending as (
  held leasehold.lease,
  outcome text,
  error text,
  counted boolean,
  destination text,
  reason text,
  run_at timestamptz
);

comment on type leasehold._ending is
$doc$An attempt that did not end in success, as _end_attempts takes it: the lease as it was (counters
already raised), the attempt's outcome, and the destination ready, scheduled, dead or cancelled.$doc$;
-- end sql/types/_ending.sql

-- begin sql/internal/_live.sql
-- Every job that has not finished, whatever its position, in one shape. For reading only.
create or replace view leasehold._live as
select
  'scheduled'::text as state, scheduled.job_id, scheduled.queue_id, scheduled.priority,
  scheduled.attempt, scheduled.failures, scheduled.losses, scheduled.releases,
  scheduled.live_until, scheduled.run_at,
  null::uuid as worker_id, null::timestamptz as leased_at, null::timestamptz as heartbeat_at,
  null::timestamptz as expires_at, null::timestamptz as cancel_requested_at
from leasehold.scheduled as scheduled
union all
select
  'ready', ready.job_id, ready.queue_id, ready.priority,
  ready.attempt, ready.failures, ready.losses, ready.releases,
  ready.live_until, null, null, null, null, null, null
from leasehold.ready as ready
union all
select
  'blocked', blocked.job_id, blocked.queue_id, blocked.priority,
  blocked.attempt, blocked.failures, blocked.losses, blocked.releases,
  blocked.live_until, null, null, null, null, null, null
from leasehold.blocked as blocked
union all
select
  'leased', lease.job_id, lease.queue_id, lease.priority,
  lease.attempt, lease.failures, lease.losses, lease.releases,
  null, null,
  lease.worker_id, lease.leased_at, lease.heartbeat_at, lease.expires_at, lease.cancel_requested_at
from leasehold.lease as lease;

comment on view leasehold._live is 'Every job that has not finished, whatever its position, in one shape.';
-- end sql/internal/_live.sql

-- begin sql/internal/_limit_waits.sql
-- From here on the caller waits 5 seconds at most for a lock, less if its own lock_timeout is shorter. Answers what
-- that was: whoever calls this sets it again at the end. A setting of the function would hide the caller's.
create or replace function leasehold._limit_waits()
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text := current_setting('lock_timeout');
begin
  if v_lock_timeout::interval not between interval '1 millisecond' and interval '5 seconds' then
    perform set_config('lock_timeout', '5s', true);
  end if;
  return v_lock_timeout;
end;
$$;
-- end sql/internal/_limit_waits.sql

-- begin sql/internal/_require_writable.sql
create or replace function leasehold._require_writable()
  returns void
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_read_only') = 'on' then
    raise exception 'leasehold cannot write in a read-only transaction'
      using errcode = 'LH007',
        hint = 'Use a read-write transaction on the primary; a standby cannot lease or enqueue.';
  end if;
end;
$$;
-- end sql/internal/_require_writable.sql

-- begin sql/internal/_require_read_committed.sql
-- SKIP LOCKED and re-checking after a lock wait work at READ COMMITTED only: elsewhere
-- PostgreSQL answers 40001 at random moments. Better one clear error before any lock.
create or replace function leasehold._require_read_committed()
  returns void
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'leasehold works at read committed, this transaction is %',
      current_setting('transaction_isolation')
      using errcode = 'LH006',
        -- Of all places where the default can be set, this one is the last word. The next session has it.
        hint = format(
          'Begin the transaction with "isolation level read committed", or make that the default: alter role'
            ' %I in database %I set default_transaction_isolation = ''read committed''; enqueue works at every level.',
          session_user, current_database()
        );
  end if;
  perform leasehold._require_writable();
end;
$$;
-- end sql/internal/_require_read_committed.sql

-- begin sql/internal/_require_batch.sql
-- Job ids and tokens come as two arrays of one length; anything else is refused whole.
create or replace function leasehold._require_batch(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_max integer
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_job_ids is null or p_tokens is null then
    raise exception 'job ids and tokens must not be null'
      using errcode = 'invalid_parameter_value';
  end if;
  if cardinality(p_job_ids) <> cardinality(p_tokens) then
    raise exception 'there must be one token for each job id, got % job ids and % tokens',
      cardinality(p_job_ids), cardinality(p_tokens)
      using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(array_ndims(p_job_ids), 1) <> 1 or coalesce(array_ndims(p_tokens), 1) <> 1 then
    raise exception 'job ids and tokens must be one-dimensional arrays'
      using errcode = 'invalid_parameter_value';
  end if;
  if cardinality(p_job_ids) > p_max then
    raise exception 'a batch may have at most % items, got %', p_max, cardinality(p_job_ids)
      using errcode = 'invalid_parameter_value';
  end if;
  if array_position(p_job_ids, null) is not null or array_position(p_tokens, null) is not null then
    raise exception 'job ids and tokens must not contain nulls'
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
-- end sql/internal/_require_batch.sql

-- begin sql/internal/_require_companion.sql
-- An optional third array of a batch: absent, or one member an item.
create or replace function leasehold._require_companion(
  p_what text,
  p_values anyarray,
  p_job_ids bigint[]
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_values is null then
    return;
  end if;
  if cardinality(p_values) <> cardinality(p_job_ids) or coalesce(array_ndims(p_values), 1) <> 1 then
    raise exception 'there must be one of % for each job id, got % for % job ids',
      p_what, cardinality(p_values), cardinality(p_job_ids)
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
-- end sql/internal/_require_companion.sql

-- begin sql/internal/_require_documents.sql
-- Results and checkpoints: null, or JSON of at most 1 MiB as text.
create or replace function leasehold._require_documents(
  p_what text,
  p_documents jsonb[]
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_bytes integer;
begin
  select max(octet_length(document::text)) into v_bytes
  from unnest(p_documents) as document;

  if v_bytes > 1048576 then
    raise exception '% must be at most 1048576 bytes, got %', p_what, v_bytes
      using errcode = 'LH008';
  end if;
end;
$$;
-- end sql/internal/_require_documents.sql

-- begin sql/internal/_require_limit.sql
-- Every batch has a limit: never null, never zero, never more than the function's maximum.
create or replace function leasehold._require_limit(
  p_limit integer,
  p_max integer
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if (p_limit between 1 and p_max) is not true then
    raise exception 'limit must be between 1 and %, got %', p_max, coalesce(p_limit::text, 'null')
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
-- end sql/internal/_require_limit.sql

-- begin sql/internal/_require_list.sql
-- Names or ids that come as a list: one dimension, no nulls.
create or replace function leasehold._require_list(
  p_what text,
  p_list anyarray
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_list is null then
    raise exception '% must not be null', p_what using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(array_ndims(p_list), 1) <> 1 then
    raise exception '% must be a one-dimensional array', p_what
      using errcode = 'invalid_parameter_value';
  end if;
  if array_position(p_list, null) is not null then
    raise exception '% must not contain nulls', p_what using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
-- end sql/internal/_require_list.sql

-- begin sql/internal/_require_number.sql
-- A whole number within its range; null passes where the caller allows it.
create or replace function leasehold._require_number(
  p_what text,
  p_value bigint,
  p_min bigint,
  p_max bigint
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_value is not null and (p_value between p_min and p_max) is not true then
    raise exception '% must be between % and %, got %', p_what, p_min, p_max, p_value
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
-- end sql/internal/_require_number.sql

-- begin sql/internal/_hours.sql
-- A span without days and months: a day is 24 hours, a month 30 days and a year 365.25 days, as PostgreSQL counts the
-- seconds of a span. Days that are added to an instant follow the session's time zone, and have 23 hours now and then.
create or replace function leasehold._hours(p_span interval)
  returns interval
  language sql
  immutable
return pg_catalog.make_interval(secs => extract(epoch from p_span)::double precision);
-- end sql/internal/_hours.sql

-- begin sql/internal/_require_span.sql
-- A span within its range, as a number of hours, minutes and seconds, so that its days are 24 hours long whatever
-- the session's time zone; null passes where the caller allows it. Infinite spans are out of any range.
create or replace function leasehold._require_span(
  p_what text,
  p_value interval,
  p_min interval,
  p_max interval
)
  returns interval
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_value is not null and (p_value between p_min and p_max) is not true then
    raise exception '% must be between % and %, got %', p_what, p_min, p_max, p_value
      using errcode = 'invalid_parameter_value';
  end if;
  return leasehold._hours(p_value);
end;
$$;
-- end sql/internal/_require_span.sql

-- begin sql/internal/_queue.sql
-- The queue of a name, or LH005.
create or replace function leasehold._queue(p_name text)
  returns leasehold.queue
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
begin
  if p_name is null then
    raise exception 'queue name must not be null' using errcode = 'invalid_parameter_value';
  end if;

  select queue.* into v_queue
  from leasehold.queue as queue
  where queue.name = p_name
    and queue.dropped_at is null;

  if not found then
    raise exception 'queue "%" does not exist', left(p_name, 255)
      using errcode = 'LH005',
        hint = 'Create it once: select leasehold.create_queue(name).';
  end if;
  return v_queue;
end;
$$;
-- end sql/internal/_queue.sql

-- begin sql/internal/_budget.sql
-- What a job may spend: its own settings, and its queue's where it has none.
create or replace function leasehold._budget(
  p_job_id bigint,
  out max_failures integer,
  out max_losses integer,
  out backoff_base interval,
  out backoff_max interval
)
  language sql
  stable
  set search_path = pg_catalog, pg_temp
  -- fail_many switches this off; here it keeps all other queues from being read.
  set enable_nestloop = on
as $$
  select
    coalesce(job.max_failures, queue.max_failures),
    coalesce(job.max_losses, queue.max_losses),
    queue.backoff_base,
    queue.backoff_max
  from leasehold.job as job
  join leasehold.queue as queue on queue.queue_id = job.queue_id
  where job.job_id = p_job_id
$$;
-- end sql/internal/_budget.sql

-- begin sql/internal/_backoff.sql
-- Exponential with full jitter: random between nothing and base * 2^failures, capped. Counted in
-- seconds, since intervals overflow where doubles do not.
create or replace function leasehold._backoff(
  p_base interval,
  p_max interval,
  p_failures integer
)
  returns interval
  language sql
  volatile
return pg_catalog.make_interval(secs => pg_catalog.random() * least(
  extract(epoch from p_max)::double precision,
  extract(epoch from p_base)::double precision * 2.0::double precision ^ least(p_failures, 62)
));
-- end sql/internal/_backoff.sql

-- begin sql/internal/_epoch.sql
-- The server's timeline grows with every fail-over, so a fence built on it grows too,
-- even where a promoted standby had not yet seen the last attempts.
create or replace function leasehold._epoch()
  returns bigint
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
begin
  return ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint;
exception
  -- Some hosts do not tell, each in other words. Seconds grow as well, as long as no clock is set back,
  -- and these fit into half of a fence until 2088.
  when others then
    return extract(epoch from leasehold._now() - timestamptz '2020-01-01 00:00:00Z')::bigint;
end;
$$;
-- end sql/internal/_epoch.sql

-- begin sql/internal/_extended.sql
-- Where a heartbeat moves the expiry to: never back, and never beyond one lease length after the
-- longest runtime, so that a worker that cannot stop its handler loses the job in the end.
create or replace function leasehold._extended(
  p_lease leasehold.lease,
  p_extend interval
)
  returns timestamptz
  language sql
  volatile
return greatest(
  (p_lease).expires_at,
  least(
    leasehold._now() + coalesce(p_extend, (p_lease).duration),
    (p_lease).runs_until + (p_lease).duration
  )
);
-- end sql/internal/_extended.sql

-- begin sql/internal/_is_live.sql
-- Whether a job has not finished yet. Volatile, and by its setting never inlined: it takes a snapshot of
-- its own and sees also the job of a caller whose commit the query that asks has just waited for.
create or replace function leasehold._is_live(p_job_id bigint)
  returns boolean
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from leasehold.job as job
    join leasehold._live as live
      on live.job_id = job.job_id
      and live.queue_id = job.queue_id
      and live.priority = job.priority
    where job.job_id = p_job_id
  )
$$;
-- end sql/internal/_is_live.sql

-- begin sql/internal/_is_current.sql
-- Whether a token is the newest of its job: it holds the lease, or its lease was reaped and nobody has leased
-- the job since. Stable: it sees what the query that asks sees, so a lease is never missing on both sides of
-- a move. A call that could not take such a lease has met another transaction, and answers busy.
create or replace function leasehold._is_current(
  p_job_id bigint,
  p_token uuid
)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_job leasehold.job;
begin
  if exists (
    select
    from leasehold.lease as lease
    where lease.job_id = p_job_id
      and lease.token = p_token
  ) then
    return true;
  end if;

  select job.* into v_job from leasehold.job as job where job.job_id = p_job_id;

  return exists (
    select
    from leasehold.ready as ready
    where ready.queue_id = v_job.queue_id
      and ready.priority = v_job.priority
      and ready.job_id = p_job_id
      and ready.token = p_token
  );
end;
$$;
-- end sql/internal/_is_current.sql

-- begin sql/internal/_lapsed_in.sql
-- Whether a lease expired in a stretch because of it: most of its length was left when the stretch began,
-- as it is where its worker renews it in time.
create or replace function leasehold._lapsed_in(
  p_lease leasehold.lease,
  p_started_at timestamptz,
  p_ended_at timestamptz
)
  returns boolean
  language sql
  immutable
return (p_lease).expires_at > p_started_at + (p_lease).duration / 2
  and (p_lease).expires_at <= p_ended_at;
-- end sql/internal/_lapsed_in.sql

-- begin sql/internal/_away_until.sql
-- When the stretches ended because of which a lease expired; null if there is none. Of those that begin alike
-- the first counts: where the time of the last look cannot be noted, each look notes another one.
create or replace function leasehold._away_until(p_lease leasehold.lease)
  returns timestamptz
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select max(stretch.ended_at)
  from (
    select min(outage.ended_at) as ended_at
    from leasehold.outage as outage
    where leasehold._lapsed_in(p_lease, outage.started_at, outage.ended_at)
    group by outage.started_at
  ) as stretch
$$;
-- end sql/internal/_away_until.sql

-- begin sql/internal/_lapses.sql
-- How often a job's lease expired because its worker vanished, as far as is known, in its newest generation.
create or replace function leasehold._lapses(p_job_id bigint)
  returns integer
  language sql
  stable
  set search_path = pg_catalog, pg_temp
  -- Callers switch these off.
  set jit = off
  set enable_nestloop = on
  set enable_seqscan = off
as $$
  select count(*)::integer
  from leasehold.job as job
  join leasehold.attempt as attempt on attempt.job_id = job.job_id
  where job.job_id = p_job_id
    and attempt.attempt > coalesce(job.redriven_after, 0)
    and attempt.outcome = 'expired'
    and not attempt.excused
$$;
-- end sql/internal/_lapses.sql

-- begin sql/internal/_survived.sql
-- Whether the worker whose lease on a job expired was seen afterwards: with its secret, as the one it was when it
-- leased. Not for the same job without end: it may be what freezes its workers.
create or replace function leasehold._survived(
  p_worker_id uuid,
  p_leased_at timestamptz,
  p_expires_at timestamptz,
  p_job_id bigint
)
  returns boolean
  language sql
  stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
  select exists (
    select
    from leasehold.worker as worker
    where worker.worker_id = p_worker_id
      and worker.secret is not null
      and worker.started_at <= p_leased_at
      and worker.heartbeat_at >= p_expires_at
  )
  and (
    select count(*)
    from leasehold.job as job
    join leasehold.attempt as attempt on attempt.job_id = job.job_id
    where job.job_id = p_job_id
      and attempt.attempt > coalesce(job.redriven_after, 0)
      and attempt.excused
  ) < 10
$$;
-- end sql/internal/_survived.sql

-- begin sql/internal/_excuse.sql
-- A worker is seen again: what was charged for leases that expired meanwhile is taken back, wherever the jobs
-- are now. One whose row is held is left for the next time.
create or replace function leasehold._excuse(p_worker_id uuid)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  if not exists (
    select
    from leasehold.attempt as attempt
    where attempt.worker_id = p_worker_id
      and attempt.outcome = 'expired'
      and not attempt.excused
  ) then
    return;
  end if;

  with returned as materialized (
    select
      attempt.job_id, attempt.attempt, attempt.counted, job.queue_id, job.priority,
      finished.job_id is not null as is_finished
    from leasehold.attempt as attempt
    join leasehold.job as job on job.job_id = attempt.job_id
    left join leasehold.finished as finished
      on finished.queue_id = job.queue_id
      and finished.job_id = job.job_id
    where attempt.worker_id = p_worker_id
      and attempt.outcome = 'expired'
      and not attempt.excused
      and attempt.attempt > coalesce(job.redriven_after, 0)
      and leasehold._survived(attempt.worker_id, attempt.leased_at, attempt.expires_at, attempt.job_id)
  ), charged as materialized (
    select
      returned.job_id, returned.queue_id, returned.priority,
      count(*) filter (where returned.counted)::integer as losses,
      leasehold._lapses(returned.job_id) - count(*) > 1 as suspect
    from returned
    where not returned.is_finished
    group by returned.job_id, returned.queue_id, returned.priority
  ), kept as materialized (
    -- Prune passes over a job whose row is held; it would wait for the attempts of one.
    select job.job_id
    from leasehold.job as job
    where job.job_id = any (array(select returned.job_id from returned where returned.is_finished))
    order by job.job_id
    for no key update skip locked
  ), held as materialized (
    select lease.job_id, charged.losses, charged.suspect
    from charged
    join leasehold.lease as lease on lease.job_id = charged.job_id
    order by lease.job_id
    for no key update of lease skip locked
  ), leased as (
    update leasehold.lease as lease
    set losses = greatest(lease.losses - held.losses, 0), suspect = held.suspect
    from held
    where lease.job_id = held.job_id
    returning lease.job_id
  ), from_ready as (
    -- Rows of ready and scheduled are never updated: they leave and come back.
    delete from leasehold.ready as ready
    where ready.ctid = any (array(
      select ready.ctid
      from charged
      join leasehold.ready as ready
        on ready.queue_id = charged.queue_id
        and ready.priority = charged.priority
        and ready.job_id = charged.job_id
      order by ready.job_id
      for update of ready skip locked
    ))
    returning ready.*
  ), ready as (
    insert into leasehold.ready (
      job_id, token, queue_id, attempt, releases, failures, losses, priority, suspect
    )
    select
      gone.job_id, gone.token, gone.queue_id, gone.attempt, gone.releases, gone.failures,
      greatest(gone.losses - charged.losses, 0), gone.priority, charged.suspect
    from from_ready as gone
    join charged on charged.job_id = gone.job_id
    returning ready.job_id
  ), from_scheduled as (
    delete from leasehold.scheduled as scheduled
    where scheduled.ctid = any (array(
      select scheduled.ctid
      from charged
      join leasehold.scheduled as scheduled
        on scheduled.queue_id = charged.queue_id
        and scheduled.job_id = charged.job_id
      order by scheduled.job_id
      for update of scheduled skip locked
    ))
    returning scheduled.*
  ), scheduled as (
    insert into leasehold.scheduled (
      job_id, run_at, queue_id, attempt, releases, failures, losses, priority, suspect
    )
    select
      gone.job_id, gone.run_at, gone.queue_id, gone.attempt, gone.releases, gone.failures,
      greatest(gone.losses - charged.losses, 0), gone.priority, charged.suspect
    from from_scheduled as gone
    join charged on charged.job_id = gone.job_id
    returning scheduled.job_id
  )
  update leasehold.attempt as attempt
  -- What a finished job was charged never changes.
  set excused = true, counted = attempt.counted and returned.is_finished
  from returned
  where attempt.job_id = returned.job_id
    and attempt.attempt = returned.attempt
    and returned.job_id in (
      select leased.job_id from leased
      union all select ready.job_id from ready
      union all select scheduled.job_id from scheduled
      union all select kept.job_id from kept
    );
end;
$$;
-- end sql/internal/_excuse.sql

-- begin sql/internal/_may_be_last.sql
-- Whether an expired lease may be judged although its loss would make the job dead, which cannot be taken
-- back: its worker had one length to show its token, and a worker that could, another one say, was seen.
create or replace function leasehold._may_be_last(
  p_lease leasehold.lease,
  p_now timestamptz
)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_due timestamptz;
begin
  v_due := (p_lease).duration + greatest((p_lease).expires_at, leasehold._away_until(p_lease));
  return p_now >= v_due and (
    not exists (
      select from leasehold.worker as worker where worker.worker_id = (p_lease).worker_id
    )
    or exists (select from leasehold.worker as worker where worker.heartbeat_at >= v_due)
    or p_now >= v_due + interval '24 hours'
  );
end;
$$;
-- end sql/internal/_may_be_last.sql

-- begin sql/internal/_note_outage.sql
-- Notes a stretch in which leases expired while nobody looked, or before the first worker was seen again:
-- the database was away, or its clock was set. Those that look at the same time may each note it. If the clock was
-- set back, leases of before expire as much earlier. Answers whether any lease has expired.
create or replace function leasehold._note_outage(p_now timestamptz)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_look leasehold.upkeep;
  v_seen_at timestamptz;
  v_since timestamptz;
  v_is_mine boolean;
  v_now timestamptz;
  v_is_back boolean;
  v_back interval;
begin
  select upkeep.* into v_look
  from leasehold.upkeep as upkeep
  where upkeep.task = 'look'
  for no key update skip locked;
  v_is_mine := found;
  if not v_is_mine then
    select upkeep.* into v_look from leasehold.upkeep as upkeep where upkeep.task = 'look';
  end if;
  -- The clock is read once more: what is noted already was noted before, unless the clock was set.
  v_now := leasehold._now();
  v_is_back := v_look.last_run_at > v_now;
  select max(worker.heartbeat_at) into v_seen_at
  from leasehold.worker as worker
  where worker.heartbeat_at <= p_now;

  if v_is_mine and v_is_back then
    v_back := leasehold._hours(v_look.last_run_at - v_now);
    update leasehold.lease as lease
    set heartbeat_at = lease.heartbeat_at - v_back, expires_at = lease.expires_at - v_back
    where lease.job_id = any (array(
      select ahead.job_id
      from leasehold.lease as ahead
      where ahead.heartbeat_at > leasehold._now()
      order by ahead.job_id
      for no key update skip locked
    ));
  end if;
  -- Once a step: who has the row takes it into account and notes it in one transaction.
  if v_is_mine then
    update leasehold.upkeep as upkeep
    set last_run_at = p_now, seen_at = v_seen_at
    where upkeep.task = 'look';
  end if;

  if v_is_back then
    -- What was noted lies in the future. Another that looks at the same time may have noted one that ends after p_now.
    delete from leasehold.outage as outage
    where outage.ctid = any (array(
      select future.ctid
      from leasehold.outage as future
      where future.ended_at > v_now
      for update skip locked
    ));
  end if;
  -- As a rule there is none, and lease is read once.
  if not exists (select from leasehold.lease as lease where lease.expires_at <= p_now) then
    return false;
  end if;

  v_since := least(
    v_look.last_run_at, case when v_seen_at > v_look.seen_at then v_look.seen_at end
  );
  insert into leasehold.outage (started_at, ended_at)
  select v_since, p_now
  where v_since > '-infinity'
    and v_since < p_now
    and exists (
      select
      from leasehold.lease as lease
      where leasehold._lapsed_in(lease, v_since, p_now)
        and not exists (
          select
          from leasehold.outage as noted
          where noted.started_at = v_since
            and noted.ended_at between lease.expires_at and p_now
        )
    )
  on conflict do nothing;
  return true;
end;
$$;
-- end sql/internal/_note_outage.sql

-- begin sql/internal/_job_infos.sql
-- Everything there is to say about jobs, in the order of the ids given. Of their history, so many of the
-- newest entries before an attempt, with errors cut to so many characters.
create or replace function leasehold._job_infos(
  p_job_ids bigint[],
  p_history integer,
  p_before integer,
  p_error_characters integer
)
  returns setof leasehold.job_info
  language sql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
  select
    job.job_id,
    queue.name,
    coalesce(live.state, finished.outcome),
    job.priority,
    job.generation,
    coalesce(live.attempt, finished.attempt),
    coalesce(live.failures, finished.failures),
    coalesce(live.losses, finished.losses),
    coalesce(live.releases, finished.releases),
    job.payload,
    job.headers,
    job.dedup_key,
    job.enqueued_at,
    live.run_at,
    coalesce(live.live_until, finished.live_until),
    coalesce(live.worker_id, finished.worker_id),
    worker.host,
    worker.pid,
    coalesce(live.leased_at, finished.leased_at),
    live.expires_at - leasehold._now(),
    leasehold._now() - live.heartbeat_at,
    live.cancel_requested_at is not null,
    checkpoint.data,
    leasehold._now() - checkpoint.saved_at,
    finished.finished_at,
    finished.reason,
    finished.result,
    finished.late,
    (
      select jsonb_agg(
        jsonb_build_object(
          'attempt', attempt.attempt,
          'outcome', attempt.outcome,
          'counted', attempt.counted,
          'error', left(attempt.error, p_error_characters),
          'worker_id', attempt.worker_id,
          'leased_at', attempt.leased_at,
          'ended_at', attempt.ended_at
        )
        order by attempt.attempt
      )
      from (
        select attempt.*
        from leasehold.attempt as attempt
        where attempt.job_id = job.job_id
          and attempt.attempt < coalesce(p_before::bigint, 9223372036854775807)
        order by attempt.attempt desc
        limit p_history
      ) as attempt
    )
  from unnest(p_job_ids) with ordinality as wanted (job_id, ordinality)
  join leasehold.job as job on job.job_id = wanted.job_id
  join leasehold.queue as queue on queue.queue_id = job.queue_id
  left join leasehold._live as live
    on live.job_id = job.job_id
    and live.queue_id = job.queue_id
    and live.priority = job.priority
  left join leasehold.finished as finished
    on finished.queue_id = job.queue_id
    and finished.job_id = job.job_id
  left join leasehold.worker as worker
    on worker.worker_id = coalesce(live.worker_id, finished.worker_id)
  left join leasehold.checkpoint as checkpoint on checkpoint.job_id = job.job_id
  order by wanted.ordinality
$$;
-- end sql/internal/_job_infos.sql

-- begin sql/internal/_await_replication.sql
-- Lets a transaction that only tells what an earlier one did wait at its commit until that is replicated, as
-- the earlier one did: a commit waits if it has an id and has written to the log, and only then.
create or replace function leasehold._await_replication()
  returns void
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select pg_logical_emit_message(true, 'leasehold', '')
$$;
-- end sql/internal/_await_replication.sql

-- begin sql/internal/_leases_of_request.sql
-- The leases that an earlier lease_jobs call made and that are still current, in the order of the line. If fewer are
-- asked for now, an answer with all of them did not get through: those that are left out are released.
create or replace function leasehold._leases_of_request(
  p_queues text[],
  p_worker_id uuid,
  p_request_id uuid,
  p_limit integer
)
  returns setof leasehold.leased_job
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  -- lease_jobs switches these otherwise, and all of job would be read.
  set enable_nestloop = on
  set enable_hashjoin = off
as $$
declare
  v_kept bigint[];
  v_excess bigint[];
  v_tokens uuid[];
begin
  -- Even this answer waits for replication.
  perform leasehold._await_replication();

  -- A scan of lease: this happens after a lost answer only, and an index would cost every lease.
  select
    array_agg(mine.job_id) filter (where mine.nth <= p_limit),
    array_agg(mine.job_id) filter (where mine.nth > p_limit),
    array_agg(mine.token) filter (where mine.nth > p_limit)
  into v_kept, v_excess, v_tokens
  from (
    select
      lease.job_id, lease.token,
      row_number() over (
        order by array_position(p_queues, queue.name), lease.priority, lease.job_id
      ) as nth
    from leasehold.lease as lease
    join leasehold.queue as queue on queue.queue_id = lease.queue_id
    where lease.request_id = p_request_id
      and lease.worker_id = p_worker_id
  ) as mine;

  if v_excess is not null then
    perform leasehold.release_many(v_excess, v_tokens);
  end if;

  return query
  select
    lease.job_id, queue.name, lease.priority, job.payload, job.headers,
    lease.token, lease.fence, lease.attempt, lease.failures, lease.losses,
    lease.releases, checkpoint.data, lease.duration, lease.expires_at - leasehold._now(),
    lease.runs_until - lease.leased_at, job.enqueued_at, lease.expires_at
  from leasehold.lease as lease
  join leasehold.job as job on job.job_id = lease.job_id
  join leasehold.queue as queue on queue.queue_id = lease.queue_id
  left join leasehold.checkpoint as checkpoint on checkpoint.job_id = lease.job_id
  where lease.job_id = any (v_kept)
    and lease.request_id = p_request_id
    and job.job_id = any (v_kept)
  order by array_position(p_queues, queue.name), lease.priority, lease.job_id;
end;
$$;
-- end sql/internal/_leases_of_request.sql

-- begin sql/internal/_raise_lost.sql
-- The one place where a status that changed nothing becomes an error. Always raises.
create or replace function leasehold._raise_lost(
  p_job_id bigint,
  p_status text
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  case p_status
    when 'lease_lost' then
      raise exception 'lease on job % is lost', p_job_id
        using errcode = 'LH001',
          detail = 'The token is not the newest one granted for this job, or it was retired.',
          hint = 'Stop working on the job: another worker has it, or may get it.';
    when 'job_not_found' then
      raise exception 'job % does not exist', p_job_id
        using errcode = 'LH002',
          hint = 'It was never enqueued, or it ended and its retention has passed.';
    when 'job_cancelled' then
      raise exception 'job % is cancelled', p_job_id using errcode = 'LH003';
    else
      raise exception 'job % is finished', p_job_id
        using errcode = 'LH004',
          hint = 'A finished job never changes again; redrive takes a dead one back.';
  end case;
end;
$$;
-- end sql/internal/_raise_lost.sql

-- begin sql/internal/_settled_status.sql
-- Why a token settled nothing: the status of a repeated call, of a lease that is lost, or of a job
-- that has ended. A look that takes no lock: nobody waits for it, and it waits for nobody.
create or replace function leasehold._settled_status(
  p_job_id bigint,
  p_token uuid,
  p_completes boolean
)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_id integer;
  v_attempt leasehold.attempt;
  v_finished leasehold.finished;
begin
  perform leasehold._await_replication();

  select job.queue_id into v_queue_id
  from leasehold.job as job
  where job.job_id = p_job_id;

  if not found then
    return 'job_not_found';
  end if;

  select attempt.* into v_attempt
  from leasehold.attempt as attempt
  where attempt.job_id = p_job_id
    and attempt.token = p_token;

  select finished.* into v_finished
  from leasehold.finished as finished
  where finished.queue_id = v_queue_id
    and finished.job_id = p_job_id;

  return case
    when v_finished.token = p_token then case
      when v_finished.outcome = 'completed' or not p_completes then 'already_' || v_finished.outcome
      when v_finished.outcome = 'cancelled' then 'job_cancelled'
      else 'job_finished'
    end
    when v_attempt.outcome = 'failed' and not p_completes then 'already_failed'
    when v_attempt.outcome = 'released' and not p_completes then 'already_released'
    when v_attempt.outcome = 'dead_lettered' and not p_completes then 'already_dead'
    when v_attempt.attempt = v_finished.attempt then case v_finished.outcome
      when 'cancelled' then 'job_cancelled'
      else 'job_finished'
    end
    else 'lease_lost'
  end;
end;
$$;
-- end sql/internal/_settled_status.sql

-- begin sql/internal/_settled.sql
-- A single call's answer: raises where the batch form only says that nothing changed.
create or replace function leasehold._settled(p_settlement leasehold.settlement)
  returns leasehold.settlement
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_settlement.status in ('lease_lost', 'job_not_found', 'job_cancelled', 'job_finished') then
    perform leasehold._raise_lost(p_settlement.job_id, p_settlement.status);
  end if;
  return p_settlement;
end;
$$;
-- end sql/internal/_settled.sql

-- begin sql/internal/_waiting_class.sql
-- The first half of the advisory lock keys that say who waits to be told: this for all sessions, the numbers
-- after it for their buckets. Anybody may take such a lock: then hints are sent that nobody needs, or a
-- session polls.
create or replace function leasehold._waiting_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320784;
-- end sql/internal/_waiting_class.sql

-- begin sql/internal/_watching_class.sql
-- The first half of the advisory lock keys that say who watches. Anybody may take such a lock: then nobody is
-- told, and all poll.
create or replace function leasehold._watching_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320775;
-- end sql/internal/_watching_class.sql

-- begin sql/internal/_buckets.sql
-- Among how many buckets the sessions that wait are divided, so that a job wakes few of them.
create or replace function leasehold._buckets()
  returns integer
  language sql
  immutable
  parallel safe
return 8;
-- end sql/internal/_buckets.sql

-- begin sql/internal/_bucket.sql
-- The bucket of this session, from 1.
create or replace function leasehold._bucket()
  returns integer
  language sql
  stable
return 1 + pg_catalog.pg_backend_pid() % leasehold._buckets();
-- end sql/internal/_bucket.sql

-- begin sql/internal/_waiting_key.sql
-- The second half of the advisory lock keys of a session that waits for these queues, in ascending order: the
-- id of a single queue; for more, so that two locks do for any number, one of 62 slots, as a negative number.
-- Each queue knows the slots it is waited for in. Null for no queue.
create or replace function leasehold._waiting_key(p_queue_ids integer[])
  returns integer
  language sql
  immutable
  parallel safe
return case pg_catalog.cardinality(p_queue_ids)
  when 0 then null
  when 1 then p_queue_ids[1]
  else -1 - (pg_catalog.hash_array(p_queue_ids) & 2147483647) % 62
end;
-- end sql/internal/_waiting_key.sql

-- begin sql/internal/_slots.sql
-- The slots, from 1 to 62, that are set in queue.waiting_slots.
create or replace function leasehold._slots(p_slots bigint)
  returns setof integer
  language sql
  immutable
  parallel safe
begin atomic
  select slot
  from pg_catalog.generate_series(1, 62) as slot
  where p_slots & (1::bigint << slot) <> 0;
end;
-- end sql/internal/_slots.sql

-- begin sql/internal/_is_held.sql
-- Whether sessions hold this advisory lock shared, for as long as they like. Nobody but them and those who
-- ask, for an instant, takes it: one that can be had whole, or not even shared, is held by none of them.
create or replace function leasehold._is_held(
  p_class integer,
  p_key integer
)
  returns boolean
  language sql
  volatile
return case
  when pg_catalog.pg_try_advisory_lock(p_class, p_key)
    then not pg_catalog.pg_advisory_unlock(p_class, p_key)
  when pg_catalog.pg_try_advisory_lock_shared(p_class, p_key)
    then pg_catalog.pg_advisory_unlock_shared(p_class, p_key)
  else false
end;
-- end sql/internal/_is_held.sql

-- begin sql/internal/_is_watched.sql
-- Whether a session holds the advisory lock of those that watch: whole, so that it cannot be shared.
create or replace function leasehold._is_watched(p_key integer)
  returns boolean
  language sql
  volatile
return case
  when pg_catalog.pg_try_advisory_lock_shared(leasehold._watching_class(), p_key)
    then not pg_catalog.pg_advisory_unlock_shared(leasehold._watching_class(), p_key)
  else true
end;
-- end sql/internal/_is_watched.sql

-- begin sql/internal/_hold_waiting.sql
-- Takes the advisory locks of a session that waits in this mode, or none. Answers whether it has them.
create or replace function leasehold._hold_waiting(
  p_mode text,
  p_key integer
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_of_all integer := leasehold._waiting_class();
  v_of_bucket integer := leasehold._waiting_class() + leasehold._bucket();
begin
  -- An enqueue that tests a lock has it for an instant: a second try finds it free again.
  if p_mode = 'watching' then
    return pg_try_advisory_lock(leasehold._watching_class(), p_key)
      or pg_try_advisory_lock(leasehold._watching_class(), p_key);
  end if;

  if pg_try_advisory_lock_shared(v_of_all, p_key) or pg_try_advisory_lock_shared(v_of_all, p_key) then
    if pg_try_advisory_lock_shared(v_of_bucket, p_key)
      or pg_try_advisory_lock_shared(v_of_bucket, p_key)
    then
      return true;
    end if;
    perform pg_advisory_unlock_shared(v_of_all, p_key);
  end if;
  return false;
end;
$$;
-- end sql/internal/_hold_waiting.sql

-- begin sql/internal/_let_go_of_waiting.sql
-- Lets go of what _hold_waiting has taken.
create or replace function leasehold._let_go_of_waiting(
  p_mode text,
  p_key integer
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_mode = 'watching' then
    perform pg_advisory_unlock(leasehold._watching_class(), p_key);
  elsif p_mode = 'told' then
    perform
      pg_advisory_unlock_shared(leasehold._waiting_class(), p_key),
      pg_advisory_unlock_shared(leasehold._waiting_class() + leasehold._bucket(), p_key);
  end if;
end;
$$;
-- end sql/internal/_let_go_of_waiting.sql

-- begin sql/internal/_share_slot.sql
-- Makes known to these queues that sessions wait for them in a slot, which enqueue must test then. Answers
-- whether all of them know. A queue keeps its slots, but for those nobody waits in once it has many.
create or replace function leasehold._share_slot(
  p_queue_ids integer[],
  p_slot integer
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  c_many constant integer := 16;
  v_bit bigint := 1::bigint << p_slot;
begin
  -- Where nothing can be written nothing can be enqueued either.
  if current_setting('transaction_read_only') = 'off' then
    update leasehold.queue as queue
    set waiting_slots = v_bit | case
      when bit_count(queue.waiting_slots::bit(64)) < c_many then queue.waiting_slots
      else (
        select coalesce(bit_or(1::bigint << slot), 0::bigint)
        from leasehold._slots(queue.waiting_slots) as slot
        where leasehold._is_held(leasehold._waiting_class(), -slot)
      )
    end
    where queue.queue_id in (
      select unaware.queue_id
      from leasehold.queue as unaware
      where unaware.queue_id = any (p_queue_ids)
        and unaware.waiting_slots & v_bit = 0
      order by unaware.queue_id
      for no key update skip locked
    );
  end if;

  return current_setting('transaction_read_only') = 'on' or not exists (
    select
    from leasehold.queue as queue
    where queue.queue_id = any (p_queue_ids)
      and queue.waiting_slots & v_bit = 0
  );
end;
$$;
-- end sql/internal/_share_slot.sql

-- begin sql/internal/_enqueue_class.sql
-- The first half of the advisory lock keys that say which ids a transaction may still commit. Anybody
-- may take such a lock: then lines begin further back.
create or replace function leasehold._enqueue_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320774;
-- end sql/internal/_enqueue_class.sql

-- begin sql/internal/_mark_class.sql
-- The first half of the advisory lock keys of who moves a mark; a few queues share one, so that a transaction
-- takes few of them. Anybody may take such a lock: then marks stay where they are.
create or replace function leasehold._mark_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320781;
-- end sql/internal/_mark_class.sql

-- begin sql/internal/_block.sql
-- The block of 4096 job ids that an id is in, as transactions claim them.
create or replace function leasehold._block(p_job_id bigint)
  returns bigint
  language sql
  immutable
  parallel safe
return p_job_id >> 12;
-- end sql/internal/_block.sql

-- begin sql/internal/_last_id.sql
-- The last job id that was given away, by whomever; 0 before the first.
create or replace function leasehold._last_id()
  returns bigint
  language sql
  volatile
return coalesce(pg_catalog.pg_sequence_last_value('leasehold.job_job_id_seq'), 0::bigint);
-- end sql/internal/_last_id.sql

-- begin sql/internal/_claim_block.sql
-- Says that this transaction may commit jobs with ids of this block, which it has not taken yet or whose mark it
-- looks at afterwards, so that the mark leaves the block open. False if somebody is in the way.
create or replace function leasehold._claim_block(p_block bigint)
  returns boolean
  language sql
  volatile
return pg_catalog.pg_try_advisory_xact_lock_shared(
  leasehold._enqueue_class(), (p_block & 2147483647)::integer
);
-- end sql/internal/_claim_block.sql

-- begin sql/internal/_claim_ids.sql
-- Says that this transaction will commit jobs of a queue with these ids, so that the mark leaves their blocks
-- open. Answers from which id on they stand above the mark: one that was moved, or is being moved, before
-- it could know of them may have passed them.
create or replace function leasehold._claim_ids(
  p_queue_id integer,
  p_job_ids bigint[]
)
  returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_claimed boolean;
begin
  -- They ascend, as the sequence gave them, and most batches are within one block.
  if leasehold._block(p_job_ids[1]) = leasehold._block(p_job_ids[cardinality(p_job_ids)]) then
    v_claimed := leasehold._claim_block(leasehold._block(p_job_ids[1]));
  else
    select bool_and(leasehold._claim_block(block)) into v_claimed
    from (select distinct leasehold._block(job_id) as block from unnest(p_job_ids) as job_id) as claimed;
  end if;

  -- Who moves a mark holds this until that is committed, and it has read the claims in that time. An old snapshot
  -- would not show how far it was moved.
  if v_claimed
    and current_setting('transaction_isolation') = 'read committed'
    and pg_try_advisory_lock_shared(leasehold._mark_class(), p_queue_id % 16)
  then
    perform pg_advisory_unlock_shared(leasehold._mark_class(), p_queue_id % 16);
    return coalesce(
      (
        select max(job_id)
        from leasehold.mark as mark
        cross join unnest(mark.job_ids) as job_id
        where mark.queue_id = p_queue_id
      ),
      0::bigint
    );
  end if;
  return 9223372036854775807;
end;
$$;
-- end sql/internal/_claim_ids.sql

-- begin sql/internal/_places.sql
-- The places to walk of a line as _line answers it: each open block that is below where a priority begins, and
-- from there on all.
create or replace function leasehold._places(p_line bigint[])
  returns table (priority smallint, job_id bigint, end_id bigint)
  language sql
  immutable
  parallel safe
begin atomic
  select (line.nth - 1)::smallint, line.job_id, 9223372036854775807
  from unnest(p_line) with ordinality as line (job_id, nth)
  where line.nth <= 10
  union all
  select (line.nth - 1)::smallint, open.block << 12, least(open.block + 1 << 12, line.job_id)
  from unnest(p_line) with ordinality as line (job_id, nth)
  join unnest(p_line) with ordinality as open (block, nth)
    on open.nth > 10
    and open.block << 12 < line.job_id
  where line.nth <= 10;
end;
-- end sql/internal/_places.sql

-- begin sql/internal/_advance_mark.sql
-- Moves the mark of a queue up to its first jobs. No further than ids that are all committed or gone: what
-- another transaction has deleted but not committed, this one still sees; what one has yet to insert, its claim
-- tells. It passes a few blocks that are claimed, and says that they are open until nothing is left there.
create or replace function leasehold._advance_mark(p_queue_id integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  c_most_open constant integer := 8;
  v_mark bigint[];
  v_open bigint[];
  v_given bigint;
  v_claimed bigint[];
  v_end bigint;
begin
  -- One at a time, until it has committed; who has just claimed ids tests this lock for an instant.
  if not pg_try_advisory_xact_lock(leasehold._mark_class(), p_queue_id % 16) then
    return;
  end if;
  perform
  from leasehold.mark as mark
  where mark.queue_id = p_queue_id
  for update skip locked;
  if not found then
    return;
  end if;
  select mark.job_ids, mark.open_blocks into v_mark, v_open
  from leasehold.mark as mark
  where mark.queue_id = p_queue_id;

  -- In this order, each with eyes of its own: who has claimed nothing yet gets ids from v_given on; who
  -- has let go of a claim has committed, and is seen below.
  v_given := leasehold._last_id();
  v_claimed := array(
    select distinct claim.objid::bigint
    from pg_locks as claim
    where claim.locktype = 'advisory'
      and claim.classid::bigint = leasehold._enqueue_class()
      and claim.objsubid = 2
      and claim.database = (select oid from pg_database where datname = current_database())
  );

  -- Ids have begun anew.
  if v_given < any (v_mark) then
    v_mark := array_fill(0::bigint, array[10]);
    v_open := '{}';
  end if;

  -- A block stays open while it is claimed, or holds jobs that came straight from their enqueue.
  v_open := array(
    select block
    from unnest(v_open) as block
    where block = any (v_claimed)
      or exists (
        select
        from leasehold._places(v_mark || block) as place
        cross join lateral (
          select
          from leasehold.ready as ready
          where not ready.returned
            and ready.queue_id = p_queue_id
            and ready.priority = place.priority
            and ready.job_id >= place.job_id
            and ready.job_id < place.end_id
          limit 1
        ) as ready
        where place.job_id = block << 12
          and place.end_id <= block + 1 << 12
      )
  );
  v_open := v_open || array(
    select block
    from unnest(v_claimed) as block
    where block <> all (v_open)
    order by block
    limit greatest(c_most_open - cardinality(v_open), 0)
  );
  select least(v_given, min(block) << 12) into v_end
  from unnest(v_claimed) as block
  where block <> all (v_open);

  v_mark := array(
    select greatest(line.job_id, least(v_end, first.job_id))
    from unnest(v_mark) with ordinality as line (job_id, nth)
    left join lateral (
      select ready.job_id
      from leasehold.ready as ready
      where ready.queue_id = p_queue_id
        and ready.priority = line.nth - 1
        and ready.job_id >= line.job_id
        and leasehold._block(ready.job_id) <> all (v_open)
        -- They wait for a worker without another, and are found below the mark like all that returned.
        and not ready.suspect
      order by ready.job_id
      limit 1
    ) as first on true
    order by line.nth
  );
  v_open := array(
    select block
    from unnest(v_open) as block
    where block << 12 < any (v_mark)
    order by block
  );

  update leasehold.mark as mark
  set job_ids = v_mark, open_blocks = v_open
  where mark.queue_id = p_queue_id
    and (mark.job_ids <> v_mark or mark.open_blocks <> v_open);
end;
$$;
-- end sql/internal/_advance_mark.sql

-- begin sql/internal/_line.sql
-- Where to walk the line of a queue: where each priority begins, from 0 to 9, and after those the blocks of ids
-- below that hold jobs all the same. Null if nothing is ready; of suspects only p_suspect counts, which lease_jobs
-- may lease. Walking to the first job takes microseconds, unless there was much that could not be removed
-- yet: then the mark moves up.
create or replace function leasehold._line(
  p_queue_id integer,
  p_suspect bigint default null
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_mark bigint[];
  v_open bigint[];
  v_moved record;
  v_are_anew boolean;
  v_started timestamptz;
  v_ready boolean;
begin
  select mark.job_ids, mark.open_blocks into v_mark, v_open
  from leasehold.mark as mark
  where mark.queue_id = p_queue_id;
  -- Without a mark, or if ids have begun anew, the line begins with the first job.
  v_are_anew := leasehold._last_id() < any (v_mark);
  if v_are_anew is not false then
    v_mark := array_fill(0::bigint, array[10]);
    v_open := '{}';
  end if;

  v_started := leasehold._now();
  v_ready := exists (
    select
    from unnest(v_mark) with ordinality as line (job_id, nth)
    cross join lateral (
      select
      from leasehold.ready as ready
      where ready.queue_id = p_queue_id
        and ready.priority = line.nth - 1
        and ready.job_id >= line.job_id
        and (not ready.suspect or ready.job_id = p_suspect)
      union all
      select
      from leasehold.ready as ready
      where ready.returned
        and ready.queue_id = p_queue_id
        and ready.priority = line.nth - 1
        and ready.job_id < line.job_id
        and (not ready.suspect or ready.job_id = p_suspect)
    ) as ready
  );
  if not v_ready and v_open <> '{}' then
    v_ready := exists (
      select
      from leasehold._places(v_mark || v_open) as place
      cross join lateral (
        select
        from leasehold.ready as ready
        where ready.queue_id = p_queue_id
          and ready.priority = place.priority
          and ready.job_id >= place.job_id
          and ready.job_id < place.end_id
          and (not ready.suspect or ready.job_id = p_suspect)
        limit 1
      ) as ready
    );
  end if;
  -- Moving it costs about a millisecond: the slower the look, the likelier it is worth that. Only where
  -- every statement sees what was committed before it: an old snapshot would take jobs for gone.
  if (v_are_anew or leasehold._now() - v_started > random() * interval '2 milliseconds')
    and current_setting('transaction_isolation') = 'read committed'
  then
    perform leasehold._advance_mark(p_queue_id);
    select mark.job_ids, mark.open_blocks into v_moved
    from leasehold.mark as mark
    where mark.queue_id = p_queue_id;
    if leasehold._last_id() >= all (v_moved.job_ids) then
      v_mark := v_moved.job_ids;
      v_open := v_moved.open_blocks;
    end if;
  end if;

  return case when v_ready then v_mark || v_open end;
end;
$$;
-- end sql/internal/_line.sql

-- begin sql/internal/_excess.sql
-- The end of the line of these jobs that weighs too much; not the first where that one is kept. A function of its
-- own, so that a call of lease_jobs whose jobs weigh little does not pay for its plan.
create or replace function leasehold._excess(
  p_job_ids bigint[],
  p_bytes integer,
  p_keep_first boolean
)
  returns bigint[]
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select heavy.job_id
    from (
      select
        job.job_id,
        weight.bytes as own,
        sum(weight.bytes) over (order by job.priority, job.job_id) as bytes
      from leasehold.job as job
      cross join lateral (
        select coalesce(job.bytes, 256) + coalesce(
          (
            select octet_length(checkpoint.data::text)
            from leasehold.checkpoint as checkpoint
            where checkpoint.job_id = job.job_id
          ),
          0
        ) as bytes
      ) as weight
      where job.job_id = any (p_job_ids)
    ) as heavy
    where heavy.bytes > p_bytes
      and (heavy.bytes > heavy.own or not p_keep_first)
  );
end;
$$;
-- end sql/internal/_excess.sql

-- begin sql/internal/_lower_marks.sql
-- Moves marks back that have passed jobs which nobody looks for: a mark is a hint, and what keeps it right are
-- ids that grow, and locks that anybody may take. A mark that moves just now is passed over. Answers how many it moved.
create or replace function leasehold._lower_marks()
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_moved integer;
begin
  with held as (
    select mark.queue_id, mark.job_ids, mark.open_blocks
    from leasehold.mark as mark
    where 0 < any (mark.job_ids)
    for update skip locked
  ), looked as (
    select
      held.queue_id,
      array_agg(least(line.job_id, passed.job_id) order by line.nth) as job_ids
    from held
    cross join lateral unnest(held.job_ids) with ordinality as line (job_id, nth)
    left join lateral (
      select ready.job_id
      from leasehold.ready as ready
      where not ready.returned
        and ready.queue_id = held.queue_id
        and ready.priority = line.nth - 1
        and ready.job_id < line.job_id
        and leasehold._block(ready.job_id) <> all (held.open_blocks)
      order by ready.job_id
      limit 1
    ) as passed on true
    group by held.queue_id
  )
  update leasehold.mark as mark
  set job_ids = looked.job_ids
  from looked
  where mark.queue_id = looked.queue_id
    and mark.job_ids <> looked.job_ids;
  get diagnostics v_moved = row_count;
  return v_moved;
end;
$$;
-- end sql/internal/_lower_marks.sql

-- begin sql/internal/_notify.sql
-- Sends a hint with the caller's commit; losing it costs a poll interval. Not where the caller wants none, since
-- PREPARE TRANSACTION is refused after one; and not while the notification queue fills, for a full one would
-- fail the caller.
create or replace function leasehold._notify(p_payload text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('leasehold.notify', true) is distinct from 'off'
    and pg_notification_queue_usage() < 0.5
  then
    perform pg_notify('leasehold', p_payload);
  end if;
end;
$$;
-- end sql/internal/_notify.sql

-- begin sql/internal/_wake.sql
-- Tells sessions that wait that a queue has ready jobs: for each job one bucket of them, all for many jobs.
-- A hint: losing it costs a poll interval. A commit that carries NOTIFY waits for every other such commit, so
-- nobody is told who does not wait, and nobody at all while somebody watches the queue. p_slots is what
-- queue.waiting_slots says, for a caller that knows.
create or replace function leasehold._wake(
  p_queue_id integer,
  p_jobs bigint default 1,
  p_slots bigint default null
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_slots bigint;
  v_keys integer[];
  v_bucket integer;
  v_told bigint;
begin
  -- Most enqueues end here.
  if p_slots = 0 and not leasehold._is_held(leasehold._waiting_class(), p_queue_id) then
    return;
  end if;

  v_slots := p_slots;
  if v_slots is null then
    select queue.waiting_slots into v_slots
    from leasehold.queue as queue
    where queue.queue_id = p_queue_id;
  end if;

  v_keys := array(
    select p_queue_id where leasehold._is_held(leasehold._waiting_class(), p_queue_id)
  );
  if v_slots <> 0 then
    v_keys := v_keys || array(
      select -slot
      from leasehold._slots(v_slots) as slot
      where leasehold._is_held(leasehold._waiting_class(), -slot)
    );
  end if;
  if v_keys = '{}'
    or leasehold._is_watched(p_queue_id)
    or v_slots <> 0 and exists (
      select from leasehold._slots(v_slots) as slot where leasehold._is_watched(-slot)
    )
  then
    return;
  end if;

  v_told := 0::bigint;
  v_bucket := (random() * leasehold._buckets())::integer;
  for v_nth in 1..leasehold._buckets() loop
    v_bucket := v_bucket % leasehold._buckets() + 1;
    continue when not exists (
      select
      from unnest(v_keys) as key
      where leasehold._is_held(leasehold._waiting_class() + v_bucket, key)
    );
    if p_jobs >= leasehold._buckets() then
      perform leasehold._notify('ready:' || p_queue_id);
      return;
    end if;
    perform leasehold._notify('ready:' || p_queue_id || ':' || v_bucket);
    v_told := v_told + 1;
    exit when v_told = p_jobs;
  end loop;
end;
$$;
-- end sql/internal/_wake.sql

-- begin sql/internal/_deduplicate.sql
-- Which id each new job goes by: its fresh one, or that of the job which holds its dedup key.
-- The unique key decides between two callers at once: the second waits for the first's commit, but not for ever.
create or replace function leasehold._deduplicate(
  p_queue_id integer,
  p_jobs leasehold._new_job[],
  p_fresh_ids bigint[],
  p_now timestamptz
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text := leasehold._limit_waits();
begin
  -- Taken in key order, so that two batches cannot deadlock. A key whose window has passed and
  -- whose job has ended is taken anew; any other stays, locked until the caller's commit.
  insert into leasehold.dedup as dedup (job_id, expires_at, queue_id, dedup_key)
  select distinct on (job.dedup_key)
    p_fresh_ids[job.ordinality], p_now + leasehold._hours(job.dedup_window), p_queue_id, job.dedup_key
  from unnest(p_jobs) with ordinality as job
  where job.dedup_key is not null
  order by job.dedup_key, job.ordinality
  on conflict on constraint dedup_key_is_taken_once_a_queue do update
  set job_id = excluded.job_id, expires_at = excluded.expires_at
  where dedup.expires_at <= p_now
    and not leasehold._is_live(dedup.job_id);
  perform set_config('lock_timeout', v_lock_timeout, true);

  return array(
    select coalesce(holder.job_id, p_fresh_ids[job.ordinality])
    from unnest(p_jobs) with ordinality as job
    left join leasehold.dedup as holder
      on holder.queue_id = p_queue_id
      and holder.dedup_key = job.dedup_key
    order by job.ordinality
  );
end;
$$;
-- end sql/internal/_deduplicate.sql

-- begin sql/internal/_require_size.sql
create or replace function leasehold._require_size(
  p_queue leasehold.queue,
  p_bytes integer -- of the largest payload or headers as text
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_bytes > p_queue.max_payload_bytes then
    raise exception 'payload and headers must each be at most % bytes as text, got %',
      p_queue.max_payload_bytes, p_bytes
      using errcode = 'LH008',
        hint = 'Put large data into a store of its own and enqueue a reference to it.';
  end if;
end;
$$;
-- end sql/internal/_require_size.sql

-- begin sql/internal/_enqueue.sql
-- The way in for jobs with options. Checks every job before it writes the first; returns ids in the order given.
create or replace function leasehold._enqueue(
  p_queue text,
  p_jobs leasehold._new_job[]
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
  v_now timestamptz;
  v_problem text;
  v_bytes integer;
  v_are_keyed boolean;
  v_line bigint;
  v_fresh_ids bigint[];
  v_job_ids bigint[];
  v_ready integer;
begin
  perform leasehold._require_writable();
  v_queue := leasehold._queue(p_queue);

  -- All that must be known of all jobs, in one pass.
  select
    (array_agg(problem.text order by job.ordinality) filter (where problem.text is not null))[1],
    max(greatest(octet_length(job.payload::text), octet_length(job.headers::text))),
    bool_or(job.dedup_key is not null)
  into v_problem, v_bytes, v_are_keyed
  from unnest(p_jobs) with ordinality as job
  cross join lateral (
    select case
      when job.payload is null then 'payload must not be null'
      when jsonb_typeof(job.headers) <> 'object' then 'headers must be an object'
      when (job.priority between 0 and 9) is not true
        then 'priority must be between 0 and 9, got ' || coalesce(job.priority::text, 'null')
      when job.run_at is not null and job.delay is not null then 'run_at and delay exclude each other'
      when isfinite(job.run_at) is false then 'run_at must be finite, got ' || job.run_at
      when (job.delay between interval '0' and interval '3660 days') is false
        then 'delay must be between 0 and 3660 days, got ' || job.delay
      when (octet_length(job.dedup_key) between 1 and 255) is false
        then 'dedup key must have 1 to 255 bytes, got ' || octet_length(job.dedup_key)
      when job.dedup_key is not null
        and (job.dedup_window between interval '0' and interval '366 days') is not true
        then 'dedup window must be between 0 and 366 days, got ' || coalesce(job.dedup_window::text, 'null')
      when (job.max_failures between 1 and 1000000) is false
        then 'max failures must be between 1 and 1000000, got ' || job.max_failures
      when (job.max_losses between 1 and 1000000) is false
        then 'max losses must be between 1 and 1000000, got ' || job.max_losses
      when (job.max_runtime between interval '1 second' and interval '366 days') is false
        then 'max runtime must be between 1 second and 366 days, got ' || job.max_runtime
      when (job.time_to_live between interval '1 second' and interval '3660 days') is false
        then 'time to live must be between 1 second and 3660 days, got ' || job.time_to_live
    end as text
  ) as problem;
  if v_problem is not null then
    raise exception '%', v_problem using errcode = 'invalid_parameter_value';
  end if;

  perform leasehold._require_size(v_queue, v_bytes);

  v_now := leasehold._now();

  select array_agg(nextval('leasehold.job_job_id_seq')) into v_fresh_ids
  from generate_series(1, cardinality(p_jobs));
  v_line := leasehold._claim_ids(v_queue.queue_id, v_fresh_ids);
  v_job_ids := v_fresh_ids;
  if v_are_keyed then
    v_job_ids := leasehold._deduplicate(v_queue.queue_id, p_jobs, v_fresh_ids, v_now);
  end if;

  with item as materialized (
    select
      job.*,
      v_job_ids[ordinality] as job_id,
      coalesce(job.run_at, v_now + leasehold._hours(job.delay), v_now) as due_at,
      greatest(v_now, coalesce(job.run_at, v_now + leasehold._hours(job.delay), v_now))
        + coalesce(leasehold._hours(job.time_to_live), v_queue.time_to_live) as live_until
    from unnest(p_jobs) with ordinality as job
    where v_job_ids[ordinality] = v_fresh_ids[ordinality]
  ), written as (
    insert into leasehold.job (
      job_id, enqueued_at, queue_id, priority, bytes, max_failures, max_losses, max_runtime,
      payload, headers, dedup_key
    )
    overriding system value
    select
      item.job_id, v_now, v_queue.queue_id, item.priority,
      case when v_bytes >= 128 then
        octet_length(item.payload::text) + coalesce(octet_length(item.headers::text), 0)
      end,
      item.max_failures, item.max_losses,
      leasehold._hours(item.max_runtime), item.payload, item.headers, item.dedup_key
    from item
  ), later as (
    insert into leasehold.scheduled (
      job_id, run_at, live_until, queue_id, attempt, releases, failures, losses, priority
    )
    select item.job_id, item.due_at, item.live_until, v_queue.queue_id, 0, 0, 0, 0, item.priority
    from item
    where item.due_at > v_now
  )
  insert into leasehold.ready (
    job_id, live_until, queue_id, attempt, releases, failures, losses, priority, returned
  )
  select
    item.job_id, item.live_until, v_queue.queue_id, 0, 0, 0, 0, item.priority,
    item.job_id < v_line
  from item
  where item.due_at <= v_now;

  get diagnostics v_ready = row_count;
  if v_ready > 0 then
    perform leasehold._wake(v_queue.queue_id, v_ready, v_queue.waiting_slots);
  end if;
  return v_job_ids;
end;
$$;
-- end sql/internal/_enqueue.sql

-- begin sql/internal/_enqueue_plain.sql
-- The way in for jobs that are payloads, none of them null, and no options, as most are: with less to check
-- and no place but ready it costs half of _enqueue. Returns ids in the order given.
create or replace function leasehold._enqueue_plain(
  p_queue text,
  p_payloads jsonb[]
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_queue leasehold.queue;
  v_now timestamptz;
  v_bytes integer;
  v_job_ids bigint[];
  v_line bigint;
begin
  perform leasehold._require_writable();
  v_queue := leasehold._queue(p_queue);
  select max(octet_length(payload::text)) into v_bytes from unnest(p_payloads) as payload;
  perform leasehold._require_size(v_queue, v_bytes);

  v_now := leasehold._now();
  v_job_ids := array(
    select nextval('leasehold.job_job_id_seq') from generate_series(1, cardinality(p_payloads))
  );
  v_line := leasehold._claim_ids(v_queue.queue_id, v_job_ids);

  with item as materialized (
    select unnest(v_job_ids) as job_id, unnest(p_payloads) as payload
  ), written as (
    insert into leasehold.job (job_id, enqueued_at, queue_id, priority, bytes, payload)
    overriding system value
    select
      item.job_id, v_now, v_queue.queue_id, 5,
      case when v_bytes >= 256 then octet_length(item.payload::text) end, item.payload
    from item
  )
  insert into leasehold.ready (
    job_id, live_until, queue_id, attempt, releases, failures, losses, priority, returned
  )
  select
    item.job_id, v_now + v_queue.time_to_live, v_queue.queue_id, 0, 0, 0, 0,
    5, item.job_id < v_line
  from item;

  perform leasehold._wake(v_queue.queue_id, cardinality(v_job_ids), v_queue.waiting_slots);
  return v_job_ids;
end;
$$;
-- end sql/internal/_enqueue_plain.sql

-- begin sql/internal/_await_holder.sql
-- Waits until no other transaction holds the row in which a job stands, and keeps that row for the caller.
-- Waits 5 seconds at most in line behind others that wait, and 5 for the holder; less if the caller's own
-- lock_timeout is shorter. p_token: null for any.
create or replace function leasehold._await_holder(
  p_job_id bigint,
  p_token uuid,
  p_strength text -- of the lock on a lease: key share, no key update or update
)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_lock_timeout text := leasehold._limit_waits();
begin
  -- Heartbeats of others must pass an assertion, and assertions each other: no stronger than the caller needs.
  if p_strength = 'key share' then
    perform from leasehold.lease as lease
    where lease.job_id = p_job_id and (p_token is null or lease.token = p_token)
    for key share;
  elsif p_strength = 'no key update' then
    perform from leasehold.lease as lease
    where lease.job_id = p_job_id and (p_token is null or lease.token = p_token)
    for no key update;
  else
    perform from leasehold.lease as lease
    where lease.job_id = p_job_id and (p_token is null or lease.token = p_token)
    for update;
  end if;

  if not found then
    perform
    from leasehold.job as job
    join leasehold.ready as ready
      on ready.queue_id = job.queue_id
      and ready.priority = job.priority
      and ready.job_id = job.job_id
    where job.job_id = p_job_id and (p_token is null or ready.token = p_token)
    for update of ready;
  end if;
  if not found and p_token is null then
    perform
    from leasehold.job as job
    join leasehold.scheduled as scheduled
      on scheduled.queue_id = job.queue_id
      and scheduled.job_id = job.job_id
    where job.job_id = p_job_id
    for update of scheduled;
  end if;
  if not found and p_token is null then
    perform
    from leasehold.job as job
    join leasehold.blocked as blocked
      on blocked.queue_id = job.queue_id
      and blocked.job_id = job.job_id
    where job.job_id = p_job_id
    for update of blocked;
  end if;

  perform set_config('lock_timeout', v_lock_timeout, true);
exception
  when lock_not_available then
    raise exception 'job % is held by another transaction', p_job_id
      using errcode = 'lock_not_available',
        detail = 'A transaction that has yet to end has settled, asserted, cancelled or leased the job.',
        hint = 'Repeat the call when that transaction has ended; pg_stat_activity shows those that are idle in transaction.';
end;
$$;
-- end sql/internal/_await_holder.sql

-- begin sql/internal/_revive.sql
-- The newest-token rule: leases that were reaped are taken back as they were, as long as nobody has
-- leased the job since. The expiry stays in the past, so the caller sees that it is late. Skips rows
-- that another transaction holds. Answers whether any lease is back.
create or replace function leasehold._revive(
  p_job_ids bigint[],
  p_tokens uuid[]
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  -- Callers switch these otherwise; here every join is a probe a row, whatever the statistics say.
  set jit = off
  set enable_nestloop = on
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_reaped tid[];
begin
  select array_agg(ready.ctid) into v_reaped
  from unnest(p_job_ids, p_tokens) as item (job_id, token)
  join leasehold.job as job on job.job_id = item.job_id
  join leasehold.ready as ready
    on ready.queue_id = job.queue_id
    and ready.priority = job.priority
    and ready.job_id = job.job_id
    and ready.token = item.token;

  -- An address may be another row's by now, a token may not.
  select array_agg(locked.ctid) into v_reaped
  from (
    select ready.ctid
    from leasehold.ready as ready
    where ready.ctid = any (v_reaped)
      and ready.token = any (p_tokens)
    order by ready.job_id
    for update skip locked
  ) as locked;

  with returned as (
    delete from leasehold.ready as ready
    where ready.ctid = any (v_reaped)
    returning ready.*
  ), undone as (
    -- The worker had not vanished after all: the loss and its history are taken back.
    delete from leasehold.attempt as attempt
    using returned
    where attempt.job_id = returned.job_id
      and attempt.attempt = returned.attempt
    returning attempt.*
  )
  insert into leasehold.lease (
    job_id, fence, leased_at, heartbeat_at, expires_at, runs_until, token, worker_id,
    duration, queue_id, attempt, releases, failures, losses, priority, suspect
  )
  select
    returned.job_id, undone.fence, undone.leased_at, undone.heartbeat_at, undone.expires_at,
    undone.runs_until, undone.token, undone.worker_id,
    undone.duration, returned.queue_id, returned.attempt, returned.releases,
    returned.failures - (undone.counted and undone.outcome = 'overran')::integer,
    returned.losses - (undone.counted and undone.outcome = 'expired')::integer,
    returned.priority,
    -- Counted as before the statement: with the lapse that is undone.
    returned.suspect and leasehold._lapses(returned.job_id) - (undone.outcome = 'expired')::integer > 1
  from returned
  join undone on undone.job_id = returned.job_id;

  return found;
end;
$$;
-- end sql/internal/_revive.sql

-- begin sql/internal/_renew.sql
-- Renews leases that have not expired, the ordinary case, with one write each, and answers for them in id
-- order; for none at all where a transaction holds one of them for longer than it is worth waiting.
create or replace function leasehold._renew(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_extend interval,
  out job_ids bigint[],
  out expiries timestamptz[],
  out cancels timestamptz[],
  out reasons text[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  set jit = off
  set enable_nestloop = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_indexscan = on
as $$
begin
  with renewed as (
    -- One walk of the key. "Is true" keeps the pairs a hash table that the planner cannot turn into a join.
    update leasehold.lease as lease
    set
      heartbeat_at = leasehold._now(),
      expires_at = leasehold._extended(lease, p_extend)
    where lease.job_id = any (p_job_ids)
      and (
        (lease.job_id, lease.token) in (
          select item.job_id, item.token from unnest(p_job_ids, p_tokens) as item (job_id, token)
        )
      ) is true
      and lease.expires_at > leasehold._now()
    returning lease.job_id, lease.expires_at, lease.cancel_requested_at, lease.cancel_reason
  )
  select
    array_agg(renewed.job_id), array_agg(renewed.expires_at),
    array_agg(renewed.cancel_requested_at), array_agg(renewed.cancel_reason)
  into job_ids, expiries, cancels, reasons
  from renewed;
exception
  when lock_not_available then
    job_ids := null;
end;
$$;
-- end sql/internal/_renew.sql

-- begin sql/internal/_take.sql
-- Takes leases off their holders and returns them as they were: those whose token is the newest
-- and, at a second look, those that were reaped but not leased since. Any other item is left out, and so
-- is one whose row another transaction holds: one item must not hold up the others.
create or replace function leasehold._take(
  p_job_ids bigint[],
  p_tokens uuid[]
)
  returns setof leasehold.lease
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_held bigint[];
  v_taken integer := 0;
begin
  for v_look in 1..2 loop
    -- Locked in id order, as everywhere. The lateral join pins the plan.
    select array_agg(held.job_id) into v_held
    from (
      select item.job_id, item.token
      from unnest(p_job_ids, p_tokens) as item (job_id, token)
      order by item.job_id
    ) as item
    cross join lateral (
      select lease.job_id
      from leasehold.lease as lease
      where lease.job_id = item.job_id
        and lease.token = item.token
      for update skip locked
    ) as held;

    return query
    delete from leasehold.lease as lease
    where lease.job_id = any (v_held)
    returning lease.*;

    v_taken := v_taken + coalesce(cardinality(v_held), 0);
    exit when v_taken >= cardinality(p_job_ids) or v_look = 2
      or not leasehold._revive(p_job_ids, p_tokens);
  end loop;
end;
$$;
-- end sql/internal/_take.sql

-- begin sql/internal/_take_lapsed.sql
-- Takes expired leases off their holders, and says of each whether its worker lost others with it: those
-- renewed about when this one was; and whether the worker was seen afterwards, looked at no earlier than it was
-- decided to take the lease. What expired in an outage waits one length for its worker.
create or replace function leasehold._take_lapsed(
  p_now timestamptz,
  p_limit integer,
  p_job_id bigint default null
)
  returns table (held leasehold.lease, in_company boolean, survived boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
declare
  v_job_ids bigint[];
  v_worker_ids uuid[];
begin
  select array_agg(lapsed.job_id), array_agg(distinct lapsed.worker_id)
  into v_job_ids, v_worker_ids
  from (
    select lease.job_id, lease.worker_id
    from leasehold.lease as lease
    where lease.expires_at <= p_now
      and (p_job_id is null or lease.job_id = p_job_id)
      and (p_now < leasehold._away_until(lease) + lease.duration) is not true
      and (
        lease.cancel_requested_at is not null
        or lease.heartbeat_at >= lease.runs_until
        or lease.losses + 1 < (leasehold._budget(lease.job_id)).max_losses
        or leasehold._may_be_last(lease, p_now)
        or leasehold._survived(lease.worker_id, lease.leased_at, lease.expires_at, lease.job_id)
      )
    limit p_limit
    for update skip locked
  ) as lapsed;
  if v_job_ids is null then
    return;
  end if;

  return query
  -- Both see the leases as they were: those that are deleted here are company too.
  with beside as (
    select
      lease.job_id,
      least(
        lease.heartbeat_at - lag(lease.heartbeat_at) over line,
        lead(lease.heartbeat_at) over line - lease.heartbeat_at
      ) as apart
    from leasehold.lease as lease
    where lease.worker_id = any (v_worker_ids)
    window line as (partition by lease.worker_id order by lease.heartbeat_at)
  ), gone as (
    delete from leasehold.lease as lease
    where lease.job_id = any (v_job_ids)
    returning lease as held
  )
  select
    gone.held,
    coalesce(beside.apart <= (gone.held).duration / 2, false) or exists (
      select
      from leasehold.attempt as attempt
      where attempt.worker_id = (gone.held).worker_id
        and attempt.job_id <> (gone.held).job_id
        and attempt.outcome = 'expired'
        and not attempt.excused
        and attempt.heartbeat_at between
          (gone.held).heartbeat_at - (gone.held).duration / 2
          and (gone.held).heartbeat_at + (gone.held).duration / 2
    ),
    leasehold._survived(
      (gone.held).worker_id, (gone.held).leased_at, (gone.held).expires_at, (gone.held).job_id
    )
  from gone
  left join beside on beside.job_id = (gone.held).job_id;
end;
$$;
-- end sql/internal/_take_lapsed.sql

-- begin sql/internal/_save_checkpoints.sql
-- Stores what came with a heartbeat, for leases that were found current in the same transaction.
create or replace function leasehold._save_checkpoints(
  p_job_ids bigint[],
  p_checkpoints jsonb[]
)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  -- heartbeat_many switches this off; here it is a probe of lease a row.
  set enable_nestloop = on
as $$
  insert into leasehold.checkpoint as checkpoint (job_id, saved_at, attempt, data)
  select lease.job_id, leasehold._now(), lease.attempt, item.data
  from unnest(p_job_ids, p_checkpoints) as item (job_id, data)
  join leasehold.lease as lease on lease.job_id = item.job_id
  where item.data is not null
  order by lease.job_id
  on conflict (job_id) do update
  set saved_at = excluded.saved_at, attempt = excluded.attempt, data = excluded.data
$$;
-- end sql/internal/_save_checkpoints.sql

-- begin sql/internal/_erase.sql
-- Removes all that is known of finished or withdrawn jobs, and counts them. p_queue_id: null where they
-- are of several queues.
create or replace function leasehold._erase(
  p_job_ids bigint[],
  p_queue_id integer default null
)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_erased integer;
begin
  delete from leasehold.attempt as attempt where attempt.job_id = any (p_job_ids);
  delete from leasehold.checkpoint as checkpoint where checkpoint.job_id = any (p_job_ids);

  -- Half of what counting the rows of each queue takes.
  if p_queue_id is not null then
    delete from leasehold.job as job where job.job_id = any (p_job_ids);
    get diagnostics v_erased = row_count;
    insert into leasehold.tally as tally (queue_id, job_id, pruned)
    select p_queue_id, p_job_ids[1], v_erased where v_erased > 0
    -- Only where ids have begun anew.
    on conflict (queue_id, job_id) do update set pruned = tally.pruned + excluded.pruned;
    return v_erased;
  end if;

  with gone as (
    delete from leasehold.job as job
    where job.job_id = any (p_job_ids)
    returning job.queue_id, job.job_id
  ), counted as (
    insert into leasehold.tally as tally (queue_id, job_id, pruned)
    select gone.queue_id, min(gone.job_id), count(*) from gone group by gone.queue_id
    on conflict (queue_id, job_id) do update set pruned = tally.pruned + excluded.pruned
  )
  select count(*)::integer into v_erased from gone;

  return v_erased;
end;
$$;
-- end sql/internal/_erase.sql

-- begin sql/internal/_finish.sql
-- Writes jobs that have left their position into finished, or erases those their queue keeps
-- for no time. keep_until is decided here; the caller leaves it null.
create or replace function leasehold._finish(p_jobs leasehold.finished[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_kept integer;
begin
  -- Not even a lock on the table where there is nothing to write.
  if cardinality(p_jobs) = 0 then
    return;
  end if;

  insert into leasehold.finished (
    job_id, finished_at, keep_until, leased_at, live_until, token, worker_id, queue_id,
    attempt, releases, failures, losses, priority, late, outcome, reason, result
  )
  select
    ended.job_id, ended.finished_at, ended.finished_at + ended.keep, ended.leased_at,
    ended.live_until, ended.token, ended.worker_id, ended.queue_id,
    ended.attempt, ended.releases, ended.failures, ended.losses, ended.priority, ended.late,
    ended.outcome, ended.reason, ended.result
  from (
    -- A subquery a row, not a join: its plan is an index probe whatever the statistics say.
    select job.*, (
      select case job.outcome when 'dead' then queue.keep_dead else queue.keep_completed end
      from leasehold.queue as queue
      where queue.queue_id = job.queue_id
    ) as keep
    from unnest(p_jobs) as job
  ) as ended
  where ended.keep > interval '0';
  get diagnostics v_kept = row_count;

  if v_kept < cardinality(p_jobs) then
    perform leasehold._erase(array(
      select job.job_id
      from unnest(p_jobs) as job
      where not exists (
        select
        from leasehold.queue as queue
        where queue.queue_id = job.queue_id
          and case job.outcome when 'dead' then queue.keep_dead else queue.keep_completed end
            > interval '0'
      )
    ));
  end if;
end;
$$;
-- end sql/internal/_finish.sql

-- begin sql/internal/_withdraw.sql
-- Takes jobs that are not leased out of their position: finished with an outcome, or, where the
-- outcome is null, erased. Returns the ids it found there; a job that was leased meanwhile, or whose row
-- another transaction holds, is not among them.
create or replace function leasehold._withdraw(
  p_job_ids bigint[],
  p_outcome text,
  p_reason text
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_jobs leasehold.finished[];
  v_job_ids bigint[];
begin
  if cardinality(p_job_ids) = 0 then
    return array[]::bigint[];
  end if;

  if p_outcome is null then
    -- Whoever has just been given a job by its dedup key holds that row until his commit.
    with own as materialized (
      select dedup.queue_id, dedup.dedup_key, dedup.job_id
      from leasehold.job as job
      join leasehold.dedup as dedup
        on dedup.queue_id = job.queue_id
        and dedup.dedup_key = job.dedup_key
        and dedup.job_id = job.job_id
      where job.job_id = any (p_job_ids)
    ), free as materialized (
      select dedup.job_id
      from own
      join leasehold.dedup as dedup using (queue_id, dedup_key, job_id)
      for update of dedup skip locked
    )
    select array_agg(wanted.job_id) into p_job_ids
    from unnest(p_job_ids) as wanted (job_id)
    where wanted.job_id not in (
      select own.job_id from own except select free.job_id from free
    );
  end if;

  with wanted as materialized (
    select job.job_id, job.queue_id, job.priority
    from leasehold.job as job
    where job.job_id = any (p_job_ids)
    order by job.job_id
  ), from_scheduled as (
    -- Rows of these tables are never updated, so the address that was locked is the row.
    delete from leasehold.scheduled as scheduled
    where scheduled.ctid = any (array(
      select free.ctid
      from wanted
      join leasehold.scheduled as free
        on free.queue_id = wanted.queue_id
        and free.job_id = wanted.job_id
      order by free.job_id
      for update of free skip locked
    ))
    returning scheduled.*
  ), from_ready as (
    delete from leasehold.ready as ready
    where ready.ctid = any (array(
      select free.ctid
      from wanted
      join leasehold.ready as free
        on free.queue_id = wanted.queue_id
        and free.priority = wanted.priority
        and free.job_id = wanted.job_id
      order by free.job_id
      for update of free skip locked
    ))
    returning ready.*
  ), from_blocked as (
    delete from leasehold.blocked as blocked
    where blocked.ctid = any (array(
      select free.ctid
      from wanted
      join leasehold.blocked as free
        on free.queue_id = wanted.queue_id
        and free.job_id = wanted.job_id
      order by free.job_id
      for update of free skip locked
    ))
    returning blocked.*
  ), withdrawn as (
    select job_id, live_until, queue_id, attempt, releases, failures, losses, priority
    from from_scheduled
    union all
    select job_id, live_until, queue_id, attempt, releases, failures, losses, priority
    from from_ready
    union all
    select job_id, live_until, queue_id, attempt, releases, failures, losses, priority
    from from_blocked
  )
  select
    array_agg(row(
      job_id, leasehold._now(), null, null, live_until, null, null, queue_id, attempt, releases, failures,
      losses, priority, false, p_outcome, left(p_reason, 16384), null
    )::leasehold.finished),
    array_agg(job_id)
  into v_jobs, v_job_ids
  from withdrawn;

  if v_job_ids is null then
    return array[]::bigint[];
  end if;
  if p_outcome is null then
    delete from leasehold.dedup as dedup
    using leasehold.job as job
    where job.job_id = any (v_job_ids)
      and dedup.queue_id = job.queue_id
      and dedup.dedup_key = job.dedup_key
      and dedup.job_id = job.job_id;
    perform leasehold._erase(v_job_ids);
  else
    perform leasehold._finish(v_jobs);
  end if;
  return v_job_ids;
end;
$$;
-- end sql/internal/_withdraw.sql

-- begin sql/internal/_end_attempts.sql
-- Attempts that did not end in success, their lease already taken: one history row each, then the
-- job goes to its destination. Counters are raised here and nowhere else.
create or replace function leasehold._end_attempts(p_endings leasehold._ending[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := leasehold._now();
begin
  insert into leasehold.attempt (
    job_id, fence, leased_at, heartbeat_at, expires_at, ended_at, runs_until, token, worker_id,
    duration, attempt, counted, excused, outcome, error
  )
  select
    (held).job_id, (held).fence, (held).leased_at, (held).heartbeat_at, (held).expires_at, v_now,
    (held).runs_until, (held).token, (held).worker_id, (held).duration, (held).attempt,
    counted,
    outcome = 'expired' and not counted and leasehold._survived(
      (held).worker_id, (held).leased_at, (held).expires_at, (held).job_id
    ),
    outcome, left(error, 16384)
  from unnest(p_endings);

  -- Only a lease that was reaped leaves its token behind to be honoured; every other ending retires it.
  insert into leasehold.ready (
    job_id, token, queue_id, attempt, releases, failures, losses, priority, suspect
  )
  select
    (held).job_id, case when outcome in ('expired', 'overran') then (held).token end,
    (held).queue_id, (held).attempt,
    (held).releases + (outcome = 'released')::integer,
    (held).failures + (outcome in ('failed', 'overran') and counted)::integer,
    (held).losses + (outcome = 'expired' and counted)::integer,
    (held).priority,
    (held).suspect or outcome = 'expired' and leasehold._lapses((held).job_id) > 1
  from unnest(p_endings)
  where destination = 'ready';

  insert into leasehold.scheduled (
    job_id, run_at, queue_id, attempt, releases, failures, losses, priority, suspect
  )
  select
    (held).job_id, run_at, (held).queue_id, (held).attempt,
    (held).releases + (outcome = 'released')::integer,
    (held).failures + (outcome = 'failed' and counted)::integer,
    (held).losses + (outcome = 'expired' and counted)::integer,
    (held).priority,
    (held).suspect
  from unnest(p_endings)
  where destination = 'scheduled';

  perform leasehold._finish(array(
    select row(
      (held).job_id, v_now, null, (held).leased_at, null,
      case when outcome not in ('expired', 'overran') then (held).token end,
      (held).worker_id, (held).queue_id, (held).attempt,
      (held).releases + (outcome = 'released')::integer,
      (held).failures + (outcome in ('failed', 'overran') and counted)::integer,
      (held).losses + (outcome = 'expired' and counted)::integer,
      (held).priority, false, destination, left(reason, 16384), null
    )::leasehold.finished
    from unnest(p_endings)
    where destination in ('dead', 'cancelled')
  ));
end;
$$;
-- end sql/internal/_end_attempts.sql

-- begin sql/internal/_answer_endings.sql
-- Ends attempts as decided and answers for every item of the batch, also for those that held nothing.
create or replace function leasehold._answer_endings(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_endings leasehold._ending[]
)
  returns setof leasehold.settlement
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
begin
  perform leasehold._end_attempts(p_endings);

  return query
  select
    item.job_id,
    case
      when ending.destination is null then case
        when leasehold._is_current(item.job_id, item.token) then 'busy'
        else leasehold._settled_status(item.job_id, item.token, false)
      end
      when item.nth > 1 then 'already_' || ending.status
      else ending.status
    end,
    coalesce(ending.late, false),
    ending.retry_in
  from (
    select item.job_id, item.token, item.ordinality,
      row_number() over (partition by item.job_id, item.token order by item.ordinality) as nth
    from unnest(p_job_ids, p_tokens) with ordinality as item (job_id, token, ordinality)
  ) as item
  left join (
    select
      (held).job_id, (held).token, destination,
      case when destination in ('dead', 'cancelled') then destination else outcome end as status,
      (held).expires_at <= leasehold._now() as late,
      case
        when destination = 'ready' then interval '0'
        when destination = 'scheduled' then greatest(run_at - leasehold._now(), interval '0')
      end as retry_in
    from unnest(p_endings)
  ) as ending
    on ending.job_id = item.job_id
    and ending.token = item.token
  order by item.ordinality;
end;
$$;
-- end sql/internal/_answer_endings.sql

-- begin sql/internal/_release_delay.sql
-- How long a job waits that is released within a minute of its lease as it was fifty times in a row
-- before: longer with every time. Any other job waits for nothing.
create or replace function leasehold._release_delay(p_held leasehold.lease)
  returns interval
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_in_a_row integer;
begin
  if p_held.releases < 50 or leasehold._now() >= p_held.leased_at + interval '1 minute' then
    return interval '0';
  end if;

  select count(*)::integer into v_in_a_row
  from (
    select bool_and(
      attempt.outcome = 'released'
      and attempt.ended_at < attempt.leased_at + interval '1 minute'
    ) over (order by attempt.attempt desc) as goes_on
    from leasehold.attempt as attempt
    where attempt.job_id = p_held.job_id
      and attempt.attempt < p_held.attempt
    order by attempt.attempt desc
    limit 100
  ) as earlier
  where earlier.goes_on;

  return case
    when v_in_a_row < 50 then interval '0'
    else (
      select leasehold._backoff(
        greatest(budget.backoff_base, interval '1 second'),
        greatest(budget.backoff_max, interval '1 second'),
        v_in_a_row - 50
      )
      from leasehold._budget(p_held.job_id) as budget
    )
  end;
end;
$$;
-- end sql/internal/_release_delay.sql

-- begin sql/internal/_trim_attempts.sql
-- Of a job that is released again and again its last hundred attempts stay, and those that spent a failure
-- or a loss: its history must not grow without end.
create or replace function leasehold._trim_attempts(p_endings leasehold._ending[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  -- release_many switches this off.
  set enable_nestloop = on
as $$
begin
  delete from leasehold.attempt as attempt
  using unnest(p_endings) as ending
  where (ending.held).releases >= 100
    and attempt.job_id = (ending.held).job_id
    and attempt.attempt <= (ending.held).attempt - 100
    and not attempt.counted;
end;
$$;
-- end sql/internal/_trim_attempts.sql

-- begin sql/functions/create_queue.sql
create or replace function leasehold.create_queue(
  p_queue text,
  p_lease interval default null,
  p_max_failures integer default null,
  p_max_losses integer default null,
  p_backoff_base interval default null,
  p_backoff_max interval default null,
  p_max_runtime interval default null,
  p_time_to_live interval default null,
  p_keep_completed interval default null,
  p_keep_dead interval default null,
  p_max_payload_bytes integer default null
)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_is_new boolean;
begin
  perform leasehold._require_writable();
  if p_queue is null then
    raise exception 'queue name must not be null' using errcode = 'invalid_parameter_value';
  end if;
  if octet_length(p_queue) not between 1 and 255 or p_queue ~ '[[:cntrl:]]' or p_queue ~ '^[[:space:]]|[[:space:]]$' then
    raise exception 'queue name must have 1 to 255 bytes, no control characters and no space at its ends'
      using errcode = 'invalid_parameter_value';
  end if;
  perform
    leasehold._require_number('max failures', p_max_failures, 1, 1000000),
    leasehold._require_number('max losses', p_max_losses, 1, 1000000),
    leasehold._require_number('max payload bytes', p_max_payload_bytes, 1, 104857600);
  p_lease := leasehold._require_span('lease', p_lease, interval '1 second', interval '1 day');
  p_backoff_base := leasehold._require_span('backoff base', p_backoff_base, interval '0', interval '366 days');
  p_backoff_max := leasehold._require_span('backoff max', p_backoff_max, interval '0', interval '366 days');
  p_keep_completed := leasehold._require_span(
    'keep completed', p_keep_completed, interval '0', interval '3660 days'
  );
  p_keep_dead := leasehold._require_span('keep dead', p_keep_dead, interval '0', interval '3660 days');
  -- Zero takes a limit away again, which null, "leave it", cannot say.
  if p_max_runtime <> interval '0' then
    p_max_runtime := leasehold._require_span(
      'max runtime', p_max_runtime, interval '1 second', interval '366 days'
    );
  end if;
  if p_time_to_live <> interval '0' then
    p_time_to_live := leasehold._require_span(
      'time to live', p_time_to_live, interval '1 second', interval '3660 days'
    );
  end if;

  v_lock_timeout := leasehold._limit_waits();
  with added as (
    insert into leasehold.queue as queue (name) values (p_queue) on conflict do nothing
    returning queue.queue_id
  )
  insert into leasehold.mark (queue_id, job_ids)
  select added.queue_id, array_fill(0::bigint, array[10]) from added;
  v_is_new := found;

  update leasehold.queue as queue
  set
    lease_duration = coalesce(p_lease, queue.lease_duration),
    max_failures = coalesce(p_max_failures, queue.max_failures),
    max_losses = coalesce(p_max_losses, queue.max_losses),
    backoff_base = coalesce(p_backoff_base, least(queue.backoff_base, p_backoff_max)),
    backoff_max = coalesce(p_backoff_max, greatest(queue.backoff_max, p_backoff_base)),
    max_runtime = nullif(coalesce(p_max_runtime, queue.max_runtime), interval '0'),
    time_to_live = nullif(coalesce(p_time_to_live, queue.time_to_live), interval '0'),
    keep_completed = coalesce(p_keep_completed, queue.keep_completed),
    keep_dead = coalesce(p_keep_dead, queue.keep_dead),
    max_payload_bytes = coalesce(p_max_payload_bytes, queue.max_payload_bytes),
    dropped_at = null
  where queue.name = p_queue;
  perform set_config('lock_timeout', v_lock_timeout, true);

  return v_is_new;
exception
  when check_violation then
    raise exception 'backoff base must not be longer than backoff max'
      using errcode = 'invalid_parameter_value';
end;
$$;

comment on function leasehold.create_queue(
  text, interval, integer, integer, interval, interval, interval, interval, interval, interval, integer
) is
$doc$Creates a queue, or changes the defaults of one that exists.

p_queue              its name: 1 to 255 bytes, no control characters
p_lease              length of a lease, 1 second to 1 day; 60 seconds
p_max_failures       the failure that makes a job dead, from 1; 10
p_max_losses         the loss (the worker vanished) that makes a job dead, from 1; 3
p_backoff_base       the delay after failure n is random between 0 and base * 2^(n-1); 1 second
p_backoff_max        where that stops growing; 1 hour
p_max_runtime        longest time one attempt may run, 1 second to 366 days, zero: for ever; for ever
p_time_to_live       how long a due job may wait for its first start, 1 second to 3660 days, zero: for ever; for ever
p_keep_completed     how long completed and cancelled jobs are kept, zero: not at all; 1 day
p_keep_dead          how long dead jobs are kept, zero: not at all; 30 days
p_max_payload_bytes  largest payload as text; 1048576

Returns whether it is new: false if there was one of that name, dropped ones included.
Spans are kept as hours: a day is 24 of them, a month 30 days, a year 365.25 days.
A null leaves what is: the default named last, or what an earlier call set. Jobs that name no value of
their own follow the queue, those enqueued before included. A new retention is for jobs that end after it.
Waits up to 10 seconds for another transaction that creates or changes the queue, then raises 55P03.
Raises LH007 read_only, 22023. Safe to repeat.$doc$;
-- end sql/functions/create_queue.sql

-- begin sql/functions/pause_queue.sql
create or replace function leasehold.pause_queue(p_queue text)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_is_new boolean;
begin
  perform leasehold._require_writable(), leasehold._queue(p_queue);

  v_lock_timeout := leasehold._limit_waits();
  update leasehold.queue as queue
  set paused_at = leasehold._now()
  where queue.name = p_queue
    and queue.paused_at is null;
  v_is_new := found;
  perform set_config('lock_timeout', v_lock_timeout, true);
  if not v_is_new then
    -- Even this answer waits for replication.
    perform leasehold._await_replication();
  end if;
  return v_is_new;
end;
$$;

comment on function leasehold.pause_queue(text) is
$doc$Stops leasing from a queue. Enqueueing goes on, and so do the jobs that are leased.

p_queue  the queue to pause

Returns whether it was not paused before.
Waits up to 10 seconds for another transaction that changes the queue, then raises 55P03.
Raises LH005 queue_not_found, LH007 read_only, 22023. Safe to repeat.$doc$;
-- end sql/functions/pause_queue.sql

-- begin sql/functions/resume_queue.sql
create or replace function leasehold.resume_queue(p_queue text)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_was_paused boolean;
begin
  perform leasehold._require_writable(), leasehold._queue(p_queue);

  v_lock_timeout := leasehold._limit_waits();
  update leasehold.queue as queue
  set paused_at = null
  where queue.name = p_queue
    and queue.paused_at is not null;
  v_was_paused := found;
  perform set_config('lock_timeout', v_lock_timeout, true);
  -- Even the answer of a repeated call waits for replication.
  perform leasehold._await_replication();

  perform leasehold._wake((leasehold._queue(p_queue)).queue_id, leasehold._buckets());
  return v_was_paused;
end;
$$;

comment on function leasehold.resume_queue(text) is
$doc$Lets a paused queue be leased from again, and wakes its workers.

p_queue  the queue to resume

Returns whether it was paused before.
Waits up to 10 seconds for another transaction that changes the queue, then raises 55P03.
Raises LH005 queue_not_found, LH007 read_only, 22023. Safe to repeat.$doc$;
-- end sql/functions/resume_queue.sql

-- begin sql/functions/purge_queue.sql
create or replace function leasehold.purge_queue(
  p_queue text,
  p_limit integer default 10000
)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 100000);
  v_queue := leasehold._queue(p_queue);

  return cardinality(leasehold._withdraw(
    array(
      select live.job_id
      from leasehold._live as live
      where live.queue_id = v_queue.queue_id
        and live.state <> 'leased'
      limit p_limit
    ),
    null,
    null
  ));
end;
$$;

comment on function leasehold.purge_queue(text, integer) is
$doc$Removes jobs of a queue that nobody works on, without a trace: scheduled, ready and blocked ones.

p_queue  the queue to purge
p_limit  most jobs to remove in this call, 1 to 100000

Returns how many it removed; call again until it is 0. Leased jobs go on, those that another transaction
holds are left alone, and finished ones stay until their retention ends. queue_stats counts what was removed as pruned.
Raises LH005 queue_not_found, LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
-- end sql/functions/purge_queue.sql

-- begin sql/functions/drop_queue.sql
create or replace function leasehold.drop_queue(p_queue text)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_queue leasehold.queue;
begin
  perform leasehold._require_read_committed();
  v_queue := leasehold._queue(p_queue);

  if exists (select from leasehold._live as live where live.queue_id = v_queue.queue_id) then
    raise exception 'queue "%" still has jobs', p_queue
      using errcode = 'LH009',
        hint = 'Let them finish, cancel them, or remove those that nobody works on with purge_queue.';
  end if;

  v_lock_timeout := leasehold._limit_waits();
  -- The row stays. A job that slips in from a transaction begun before is cancelled by prune.
  update leasehold.queue as queue
  set dropped_at = leasehold._now(), paused_at = null
  where queue.queue_id = v_queue.queue_id;
  perform set_config('lock_timeout', v_lock_timeout, true);
  return true;
end;
$$;

comment on function leasehold.drop_queue(text) is
$doc$Drops a queue that has no live job. Its finished jobs stay until their retention ends.

p_queue  the queue to drop

Returns true, or raises. Creating a queue of that name again keeps the settings of the old one where it names none.
Waits up to 10 seconds for another transaction that changes the queue, then raises 55P03.
Raises LH005 queue_not_found, LH006 isolation_not_supported, LH007 read_only, LH009 queue_not_empty, 22023.$doc$;
-- end sql/functions/drop_queue.sql

-- begin sql/functions/queue_stats.sql
create or replace function leasehold.queue_stats(p_queue text default null)
  returns setof leasehold.queue_stat
  language plpgsql
  stable
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_queue is not null then
    perform leasehold._queue(p_queue);
  end if;

  return query
  select
    queue.name,
    queue.paused_at is not null,
    (select count(*) from leasehold.scheduled as scheduled where scheduled.queue_id = queue.queue_id),
    (select count(*) from leasehold.ready as ready where ready.queue_id = queue.queue_id),
    (select count(*) from leasehold.blocked as blocked where blocked.queue_id = queue.queue_id),
    (select count(*) from leasehold.lease as lease where lease.queue_id = queue.queue_id),
    ended.completed,
    ended.dead,
    ended.cancelled,
    (select coalesce(sum(tally.pruned), 0)::bigint from leasehold.tally as tally
      where tally.queue_id = queue.queue_id),
    (
      -- The first of each priority is its oldest: ids grow with time and returning jobs keep theirs.
      select leasehold._now() - min(job.enqueued_at)
      from generate_series(0, 9) as level
      cross join lateral (
        select ready.job_id
        from leasehold.ready as ready
        where ready.queue_id = queue.queue_id
          and ready.priority = level
        order by ready.job_id
        limit 1
      ) as oldest
      join leasehold.job as job on job.job_id = oldest.job_id
    ),
    (
      select count(*)
      from leasehold.worker as worker
      where queue.name = any (worker.queues)
        and worker.heartbeat_at > leasehold._now() - interval '2 minutes'
    )
  from leasehold.queue as queue
  cross join lateral (
    select
      count(*) filter (where finished.outcome = 'completed') as completed,
      count(*) filter (where finished.outcome = 'dead') as dead,
      count(*) filter (where finished.outcome = 'cancelled') as cancelled
    from leasehold.finished as finished
    where finished.queue_id = queue.queue_id
  ) as ended
  where queue.dropped_at is null
    and (p_queue is null or queue.name = p_queue)
  order by queue.name;
end;
$$;

comment on function leasehold.queue_stats(text) is
$doc$Counts the jobs of every queue, or of one, by where they are.

p_queue  the queue; null: all

One row a queue, by name. A queue with an old oldest_ready_age and no workers is served by nobody.
workers counts processes seen within two minutes. Counting reads every row of a position: not for a tight loop.
Raises LH005 queue_not_found.$doc$;
-- end sql/functions/queue_stats.sql

-- begin sql/functions/enqueue.sql
create or replace function leasehold.enqueue(
  p_queue text,
  p_payload jsonb,
  p_priority integer default 5,
  p_run_at timestamptz default null,
  p_delay interval default null,
  p_dedup_key text default null,
  p_dedup_window interval default interval '1 hour',
  p_headers jsonb default null,
  p_max_failures integer default null,
  p_max_losses integer default null,
  p_max_runtime interval default null,
  p_time_to_live interval default null
)
  returns bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_id integer;
  v_time_to_live interval;
  v_max_bytes integer;
  v_bytes integer;
  v_slots bigint;
  v_now timestamptz;
  v_block bigint;
  v_claimed boolean;
  v_job_id bigint;
begin
  -- Most jobs are a payload and no more: with nothing to check but its size, and one place to go to, that
  -- is half of what the way for all others takes.
  if p_payload is not null and p_priority = 5
    and num_nonnulls(
      p_run_at, p_delay, p_dedup_key, p_headers, p_max_failures, p_max_losses, p_max_runtime,
      p_time_to_live
    ) = 0
  then
    perform leasehold._require_writable();
    select queue.queue_id, queue.time_to_live, queue.max_payload_bytes, queue.waiting_slots
    into v_queue_id, v_time_to_live, v_max_bytes, v_slots
    from leasehold.queue as queue
    where queue.name = p_queue
      and queue.dropped_at is null;
    if not found then
      -- It says why not, unless somebody has created the queue just now.
      select queue.queue_id, queue.time_to_live, queue.max_payload_bytes, queue.waiting_slots
      into v_queue_id, v_time_to_live, v_max_bytes, v_slots
      from leasehold._queue(p_queue) as queue;
    end if;
    v_bytes := octet_length(p_payload::text);
    if v_bytes > v_max_bytes then
      perform leasehold._require_size(leasehold._queue(p_queue), v_bytes);
    end if;

    v_now := leasehold._now();
    v_block := leasehold._block(leasehold._last_id() + 1);
    v_claimed := leasehold._claim_block(v_block);
    insert into leasehold.job (enqueued_at, queue_id, priority, bytes, payload)
    values (v_now, v_queue_id, p_priority, case when v_bytes >= 256 then v_bytes end, p_payload)
    returning job_id into v_job_id;

    insert into leasehold.ready (
      job_id, live_until, queue_id, attempt, releases, failures, losses, priority, returned
    )
    values (
      v_job_id, v_now + v_time_to_live, v_queue_id, 0, 0, 0, 0, p_priority,
      not v_claimed or leasehold._block(v_job_id) <> v_block
    );
    perform leasehold._wake(v_queue_id, 1, v_slots);
    return v_job_id;
  end if;

  return (leasehold._enqueue(p_queue, array[row(
    p_payload, p_headers, p_priority, p_run_at, p_delay, p_dedup_key, p_dedup_window,
    p_max_failures, p_max_losses, p_max_runtime, p_time_to_live
  )::leasehold._new_job]))[1];
end;
$$;

comment on function leasehold.enqueue(
  text, jsonb, integer, timestamptz, interval, text, interval, jsonb, integer, integer, interval, interval
) is
$doc$Adds a job to a queue, in the caller's transaction: it exists if and only if that commits.

p_queue         the queue; create_queue makes one
p_payload       what the handler gets: any JSON, at most 1 MiB as text by default
p_priority      0 (first) to 9 (last)
p_run_at        not before this instant; null: now
p_delay         the same as a span from now, 0 to 3660 days; excludes p_run_at
p_dedup_key     1 to 255 bytes: while the key is taken, enqueueing it again returns the job that took it
p_dedup_window  how long the key stays taken after the job has ended, counted from now, 0 to 366 days;
                it is always taken while the job is live
p_headers       an object for what is not the handler's business: trace ids, tenant
p_max_failures  the failure that makes it dead, from 1; null: the queue's
p_max_losses    the loss that makes it dead, from 1; null: the queue's
p_max_runtime   longest time one attempt may run, 1 second to 366 days; null: the queue's
p_time_to_live  how long it may wait for its first start once it is due, 1 second to 3660 days; null: the queue's

Returns the job id. Works at every isolation level. It may notify sessions that wait for jobs, after which PostgreSQL
refuses PREPARE TRANSACTION: "set local leasehold.notify = 'off'" keeps it silent, and polls find the job.
Raises LH005 queue_not_found, LH007 read_only, LH008 payload_too_large, 22023.
Waits up to 10 seconds for another transaction that enqueues the same dedup key, then raises 55P03. Not safe to repeat without a dedup key; with one, a repeat returns the same id.$doc$;
-- end sql/functions/enqueue.sql

-- begin sql/functions/enqueue_many.sql
create or replace function leasehold.enqueue_many(
  p_queue text,
  p_jobs jsonb
)
  returns bigint[]
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  c_keys constant text[] := array[
    'payload', 'headers', 'priority', 'run_at', 'delay', 'dedup_key', 'dedup_window',
    'max_failures', 'max_losses', 'max_runtime', 'time_to_live'
  ];
  v_jobs leasehold._new_job[];
  v_are_jobs boolean;
  v_are_plain boolean;
  v_payloads jsonb[];
  v_unknown text;
begin
  if p_jobs is null or jsonb_typeof(p_jobs) <> 'array' then
    raise exception 'jobs must be an array of objects' using errcode = 'invalid_parameter_value';
  end if;
  perform leasehold._require_number('number of jobs', jsonb_array_length(p_jobs), 0, 10000);
  select
    bool_and(jsonb_typeof(item) = 'object' and item ? 'payload'),
    bool_and(jsonb_typeof(item) = 'object' and item - 'payload' = '{}'),
    array_agg(item -> 'payload')
  into v_are_jobs, v_are_plain, v_payloads
  from jsonb_array_elements(p_jobs) as item;
  if not v_are_jobs then
    raise exception 'every job must be an object with a payload'
      using errcode = 'invalid_parameter_value';
  end if;
  if v_are_plain then
    return leasehold._enqueue_plain(p_queue, v_payloads);
  end if;
  select key into v_unknown
  from jsonb_array_elements(p_jobs) as item
  cross join lateral jsonb_object_keys(item - c_keys) as key
  limit 1;
  if found then
    raise exception 'unknown key "%" in a job', left(v_unknown, 255)
      using errcode = 'invalid_parameter_value',
        hint = 'Known are: ' || array_to_string(c_keys, ', ') || '.';
  end if;

  select array_agg(
    row(
      item -> 'payload',
      nullif(item -> 'headers', 'null'),
      coalesce((item ->> 'priority')::integer, 5),
      (item ->> 'run_at')::timestamptz,
      (item ->> 'delay')::interval,
      item ->> 'dedup_key',
      coalesce((item ->> 'dedup_window')::interval, interval '1 hour'),
      (item ->> 'max_failures')::integer,
      (item ->> 'max_losses')::integer,
      (item ->> 'max_runtime')::interval,
      (item ->> 'time_to_live')::interval
    )::leasehold._new_job
    order by ordinality
  ) into v_jobs
  from jsonb_array_elements(p_jobs) with ordinality as element (item, ordinality);

  return coalesce(leasehold._enqueue(p_queue, coalesce(v_jobs, '{}')), '{}');
end;
$$;

comment on function leasehold.enqueue_many(text, jsonb) is
$doc$Adds up to 10,000 jobs to a queue, all or none, in the caller's transaction.

p_queue  the queue; create_queue makes one
p_jobs   an array of objects: payload, and any of headers, priority, run_at, delay, dedup_key,
         dedup_window, max_failures, max_losses, max_runtime, time_to_live, as enqueue takes them;
         spans as text that PostgreSQL reads as an interval ("90 seconds", "PT1H")

Returns the job ids in the order given; the id of the job that has the key, where a dedup key is taken.
Waits up to 10 seconds for another transaction that enqueues one of the dedup keys, then raises 55P03.
Raises LH005 queue_not_found, LH007 read_only, LH008 payload_too_large, 22023, and 22P02, 22003, 22007, 22008 or
22015 for a value that cannot be read as a number, span or instant. Works at every isolation level.$doc$;
-- end sql/functions/enqueue_many.sql

-- begin sql/functions/cancel.sql
create or replace function leasehold.cancel(
  p_job_id bigint,
  p_reason text default null
)
  returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_worker_id uuid;
  v_outcome text;
begin
  perform leasehold._require_read_committed();
  if p_job_id is null then
    raise exception 'job id must not be null' using errcode = 'invalid_parameter_value';
  end if;

  -- A job may move while it is looked for; it is never in two places, so another look finds it.
  for v_look in 1..100 loop
    update leasehold.lease as lease
    set
      cancel_requested_at = coalesce(lease.cancel_requested_at, leasehold._now()),
      cancel_reason = coalesce(lease.cancel_reason, left(p_reason, 16384), 'cancelled')
    where lease.job_id = (
      select held.job_id
      from leasehold.lease as held
      where held.job_id = p_job_id
      for no key update skip locked
    )
    returning lease.worker_id into v_worker_id;
    if found then
      perform leasehold._notify('cancel:' || v_worker_id);
      return 'requested';
    end if;

    if leasehold._withdraw(array[p_job_id], 'cancelled', coalesce(p_reason, 'cancelled')) <> '{}' then
      return 'cancelled';
    end if;

    select finished.outcome into v_outcome
    from leasehold.job as job
    join leasehold.finished as finished
      on finished.queue_id = job.queue_id
      and finished.job_id = job.job_id
    where job.job_id = p_job_id;
    if v_outcome = 'cancelled' then
      perform leasehold._await_replication();
      return 'already_cancelled';
    elsif v_outcome is not null then
      perform leasehold._raise_lost(p_job_id, 'job_finished');
    end if;

    perform from leasehold.job as job where job.job_id = p_job_id;
    if not found then
      perform leasehold._raise_lost(p_job_id, 'job_not_found');
    end if;

    perform leasehold._await_holder(p_job_id, null, 'no key update');
  end loop;

  raise exception 'job % keeps moving', p_job_id
    using errcode = 'serialization_failure', hint = 'Cancel it again.';
end;
$$;

comment on function leasehold.cancel(bigint, text) is
$doc$Cancels a job: at once if nobody works on it, else its holder is asked to stop.

p_job_id  the job
p_reason  why, any text; cut to 16384 characters

Returns cancelled, requested (the holder learns with its next heartbeat; a job that completes first is
completed), or already_cancelled.
Raises LH002 job_not_found, LH004 job_finished, LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the job's row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat.$doc$;
-- end sql/functions/cancel.sql

-- begin sql/functions/register_worker.sql
create or replace function leasehold.register_worker(
  p_worker_id uuid,
  p_queues text[],
  p_concurrency integer default null,
  p_host text default null,
  p_pid integer default null,
  p_client_version text default null,
  p_secret uuid default null
)
  returns integer[]
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_now timestamptz;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_list('queues', p_queues);
  if p_worker_id is null then
    raise exception 'worker id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  perform leasehold._require_number('number of queues', cardinality(p_queues), 0, 10000);
  perform leasehold._require_number('concurrency', p_concurrency, 1, 100000);

  v_lock_timeout := leasehold._limit_waits();
  v_now := leasehold._now();
  insert into leasehold.worker as worker (
    worker_id, started_at, heartbeat_at, pid, concurrency, host, client_version, queues, secret
  )
  values (
    p_worker_id, v_now, v_now, p_pid, p_concurrency, left(p_host, 255), left(p_client_version, 255),
    p_queues, p_secret
  )
  on conflict (worker_id) do update
  set
    heartbeat_at = excluded.heartbeat_at, pid = excluded.pid, concurrency = excluded.concurrency,
    host = excluded.host, client_version = excluded.client_version, queues = excluded.queues
  where worker.secret is not distinct from excluded.secret;
  if not found then
    raise exception 'worker % is registered with another secret', p_worker_id
      using errcode = 'invalid_parameter_value';
  end if;

  if p_secret is not null then
    perform leasehold._excuse(p_worker_id);
  end if;
  perform set_config('lock_timeout', v_lock_timeout, true);

  return array(
    select queue.queue_id
    from unnest(p_queues) with ordinality as served (name, ordinality)
    left join leasehold.queue as queue
      on queue.name = served.name
      and queue.dropped_at is null
    order by served.ordinality
  );
end;
$$;

comment on function leasehold.register_worker(uuid, text[], integer, text, integer, text, uuid) is
$doc$Says that a worker process is there. Called again, that it is still alive: as often as it heartbeats.

p_worker_id       a new uuid at every boot, the one lease_jobs is called with
p_queues          the queues it has handlers for
p_concurrency     how many jobs it works on at once, 1 to 100000
p_host            where it runs
p_pid             its process id there
p_client_version  the client it uses
p_secret          a random uuid that the process keeps to itself, the same in every call; null: none

Returns the ids of the queues, in the order given, by which notifications name them ("ready:1"); null
for a queue that does not exist.
With a secret, losses are taken back that were charged for leases of this worker: they expired because it could
not reach the database, say, and not because it had vanished. Not more than ten times for one job.
A worker that never registers may lease all the same; people do not see it, and an outage of the
database counts as its loss. Register before leasing.
Waits up to 10 seconds for another transaction that registers the same worker, then raises 55P03.
Raises LH006 isolation_not_supported, LH007 read_only, 22023, also for a secret that is not the worker's.
Safe to repeat.$doc$;
-- end sql/functions/register_worker.sql

-- begin sql/functions/retire_worker.sql
create or replace function leasehold.retire_worker(
  p_worker_id uuid,
  p_secret uuid default null
)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_is_gone boolean;
begin
  perform leasehold._require_read_committed();
  if p_worker_id is null then
    raise exception 'worker id must not be null' using errcode = 'invalid_parameter_value';
  end if;

  v_lock_timeout := leasehold._limit_waits();
  delete from leasehold.worker as worker
  where worker.worker_id = p_worker_id
    and worker.secret is not distinct from p_secret
    and not exists (
      select from leasehold.lease as lease where lease.worker_id = p_worker_id
    );
  v_is_gone := found;
  perform set_config('lock_timeout', v_lock_timeout, true);
  if not v_is_gone and exists (
    select
    from leasehold.worker as worker
    where worker.worker_id = p_worker_id
      and worker.secret is distinct from p_secret
  ) then
    raise exception 'worker % is registered with another secret', p_worker_id
      using errcode = 'invalid_parameter_value';
  end if;
  return v_is_gone;
end;
$$;

comment on function leasehold.retire_worker(uuid, uuid) is
$doc$Removes a worker process that stops, unless it still holds leases.

p_worker_id  the worker
p_secret     the one it registered with; null: none

Returns whether it was removed. Workers that vanish are removed by prune after a day.
Waits up to 10 seconds for another transaction that registers it, then raises 55P03.
Raises LH006 isolation_not_supported, LH007 read_only, 22023, also for a secret that is not the worker's. Safe to repeat.$doc$;
-- end sql/functions/retire_worker.sql

-- begin sql/functions/set_waiting.sql
create or replace function leasehold.set_waiting(
  p_queues text[],
  p_mode text,
  p_backend_pid integer
)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_ids integer[];
  v_key integer;
  v_held text[] := string_to_array(current_setting('leasehold.waiting', true), ':');
  v_wanted text[] := array[]::text[];
begin
  perform leasehold._require_list('queues', p_queues);
  if (p_mode in ('off', 'told', 'watching')) is not true then
    raise exception 'mode must be off, told or watching, got %', coalesce(left(p_mode, 255), 'null')
      using errcode = 'invalid_parameter_value';
  end if;
  if p_backend_pid is distinct from pg_backend_pid() then
    raise exception 'backend pid must be %, got %', pg_backend_pid(), coalesce(p_backend_pid::text, 'null')
      using errcode = 'invalid_parameter_value',
        hint = 'Another number means that a pooler stands in between: connect past it, or poll.';
  end if;

  v_queue_ids := array(
    select queue.queue_id
    from leasehold.queue as queue
    where queue.name = any (p_queues)
      and queue.dropped_at is null
    order by queue.queue_id
  );
  v_key := leasehold._waiting_key(v_queue_ids);
  if p_mode <> 'off' and v_key is not null then
    v_wanted := array[p_mode, v_key::text];
  end if;

  v_held := coalesce(v_held, '{}');
  if v_wanted <> '{}' then
    if v_wanted <> v_held and not leasehold._hold_waiting(p_mode, v_key) then
      return null;
    end if;
    if v_key < 0 and not leasehold._share_slot(v_queue_ids, -v_key) then
      if v_wanted <> v_held then
        perform leasehold._let_go_of_waiting(p_mode, v_key);
      end if;
      return null;
    end if;
  end if;
  if v_wanted <> v_held then
    if v_held <> '{}' then
      perform leasehold._let_go_of_waiting(v_held[1], v_held[2]::integer);
    end if;
    -- The session's own memory of what it holds: PostgreSQL counts locks, and warns of one that is not held.
    perform set_config('leasehold.waiting', array_to_string(v_wanted, ':'), false);
  end if;

  -- What was announced to this session alone is for others now.
  if p_mode = 'off' and current_setting('transaction_read_only') = 'off' then
    perform leasehold._wake(queue_id)
    from unnest(v_queue_ids) as queue_id
    where leasehold._line(queue_id) is not null;
  end if;
  return leasehold._bucket();
end;
$$;

comment on function leasehold.set_waiting(text[], text, integer) is
$doc$Sets how this session waits for jobs, in place of what was set before: setting the same again changes nothing.

p_queues       the queues it serves; those that do not exist are left out
p_mode         told: jobs that become ready are announced to it;
               watching: it looks for jobs every few milliseconds, and nothing is announced to anybody;
               off: neither, and ready jobs are announced to another session
p_backend_pid  the process id that the server told the driver when this session began

An announcement comes on the channel "leasehold" as "ready:", the queue's id and, if few jobs are meant, ":"
and a bucket: of the sessions that are told, only those of that bucket need look.
Returns the bucket of this session; null, having changed nothing, if another session is in the way, or watches:
try again later.
LISTEN first, then set told, then look for jobs once more, then wait, but never without a poll: what became
ready in a transaction that was under way is not announced. A session without free slots sets off, or it
keeps announcements from others; it sets off again for each announcement that it cannot follow. After
watching, look once more.
A session holds two advisory locks at most, however many queues it serves, and keeps them until it ends. So a
transaction that calls this must not be rolled back, and a pooler must not lend the session to others: the
process id shows one.
Raises 22023.$doc$;
-- end sql/functions/set_waiting.sql

-- begin sql/functions/lease_jobs.sql
create or replace function leasehold.lease_jobs(
  p_queues text[],
  p_worker_id uuid,
  p_limit integer default 1,
  p_lease interval default null,
  p_request_id uuid default null
)
  returns setof leasehold.leased_job
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  set enable_seqscan = off
  set enable_nestloop = off
  set enable_mergejoin = off
  set enable_bitmapscan = off
as $$
declare
  v_lock_timeout text;
  c_endless constant bigint := 9223372036854775807;
  c_priorities constant smallint[] := array[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]::smallint[];
  v_queues leasehold.queue[];
  v_queue leasehold.queue;
  v_now timestamptz;
  v_duration interval;
  v_epoch bigint;
  v_seed bytea;
  v_line bigint[];
  v_priorities smallint[];
  v_ends bigint[];
  v_remembered boolean := false;
  -- Of many jobs, those that others have touched are passed over without asking for their locks. So are
  -- those of a lease that was rolled back: one call of eight looks at all, and each that finds none.
  v_thorough boolean := p_limit < 50 or random() < 0.125;
  v_suspects boolean;
  v_suspect bigint;
  v_left integer := p_limit;
  -- What the jobs of one queue may weigh; half of it for each queue after one that has given some.
  v_bytes integer := 4194304;
  v_leased integer;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_list('queues', p_queues);
  if p_worker_id is null then
    raise exception 'worker id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  perform leasehold._require_limit(p_limit, 10000);
  p_lease := leasehold._require_span('lease', p_lease, interval '1 second', interval '1 day');

  select
    array_agg(queue order by array_position(p_queues, queue.name)),
    exists (select from leasehold.ready as ready where ready.suspect)
  into v_queues, v_suspects
  from leasehold.queue as queue
  where queue.name = any (p_queues)
    and queue.dropped_at is null;

  -- One that is missing keeps nobody from the others.
  if v_queues is null then
    perform leasehold._queue(wanted.name) from unnest(p_queues) as wanted (name);
  end if;

  if v_suspects then
    v_suspects := not exists (
      select
      from leasehold.lease as lease
      where lease.worker_id = p_worker_id
        and lease.suspect
    );
  end if;

  foreach v_queue in array coalesce(v_queues, '{}') loop
    exit when v_left = 0;
    continue when v_queue.paused_at is not null;
    if v_suspects then
      select ready.job_id into v_suspect
      from leasehold.ready as ready
      where ready.suspect
        and ready.queue_id = v_queue.queue_id
      order by ready.priority, ready.job_id
      limit 1
      for update skip locked;
      -- One a call. It keeps its place, so that it may not be among those that are leased.
      v_suspects := v_suspect is null;
    end if;
    v_line := leasehold._line(v_queue.queue_id, v_suspect);
    continue when v_line is null;
    v_priorities := c_priorities;
    v_ends := array_fill(c_endless, array[10]);
    if cardinality(v_line) > 10 then
      select
        array_agg(place.priority order by place.priority, place.job_id),
        array_agg(place.job_id order by place.priority, place.job_id),
        array_agg(place.end_id order by place.priority, place.job_id)
      into v_priorities, v_line, v_ends
      from leasehold._places(v_line) as place;
    end if;

    -- A call made before under this id is answered with the leases it made. One that is under way
    -- is waited for at the unique key. A quiet poll writes nothing.
    if p_request_id is not null and not v_remembered then
      v_lock_timeout := leasehold._limit_waits();
      insert into leasehold.request (request_id, requested_at)
      values (p_request_id, leasehold._now())
      on conflict do nothing;
      v_remembered := found;
      perform set_config('lock_timeout', v_lock_timeout, true);
      exit when not v_remembered;
    end if;

    v_now := leasehold._now();
    v_duration := coalesce(p_lease, v_queue.lease_duration);
    v_epoch := coalesce(v_epoch, leasehold._epoch());
    -- Tokens of one call are digests of one secret of 244 random bits: as hard to guess as random ones,
    -- and none tells another, without asking the system for randomness once a job.
    v_seed := coalesce(v_seed, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

    loop
      return query
      with place as materialized (
        -- Priority by priority: what lies below the mark is older than what lies above.
        select place.*
        from unnest(v_line) with ordinality as line (job_id, nth)
        cross join lateral (
          select below.*
          from (
            select
              ready.ctid as row_address, ready.job_id, ready.priority,
              ready.attempt + 1 as attempt, ready.failures, ready.losses, ready.releases
            from leasehold.ready as ready
            where ready.returned
              and ready.queue_id = v_queue.queue_id
              and ready.priority = v_priorities[line.nth]
              and ready.job_id < line.job_id
              and v_ends[line.nth] = c_endless
              and (ready.live_until is null or ready.live_until > v_now)
              and (
                not ready.suspect and (v_thorough or ready.xmax = '0')
                or ready.job_id = v_suspect
              )
            order by ready.job_id
            limit v_left
            for update skip locked
          ) as below
          union all
          select above.*
          from (
            select
              ready.ctid as row_address, ready.job_id, ready.priority,
              ready.attempt + 1 as attempt, ready.failures, ready.losses, ready.releases
            from leasehold.ready as ready
            where ready.queue_id = v_queue.queue_id
              and ready.priority = v_priorities[line.nth]
              and ready.job_id >= line.job_id
              and ready.job_id < v_ends[line.nth]
              and (not ready.returned or v_ends[line.nth] = c_endless)
              and (ready.live_until is null or ready.live_until > v_now)
              and (
                not ready.suspect and (v_thorough or ready.xmax = '0')
                or ready.job_id = v_suspect
              )
            order by ready.job_id
            limit v_left
            for update skip locked
          ) as above
        ) as place
        limit v_left
      ), granted as materialized (
        -- What a job weighs comes first, so that no more of the row is read to add it up.
        select
          place.job_id, place.priority, place.attempt, place.failures, place.losses, place.releases,
          coalesce(job.bytes, 256) as bytes,
          case when place.attempt > 1 then (
            select checkpoint.data
            from leasehold.checkpoint as checkpoint
            where checkpoint.job_id = place.job_id
          ) end as checkpoint,
          v_epoch << 32 | place.attempt as fence,
          encode(substr(sha256(v_seed || int8send(place.job_id)), 1, 16), 'hex')::uuid as token,
          coalesce(job.max_runtime, v_queue.max_runtime) as max_runtime,
          job.enqueued_at, job.payload, job.headers
        from place
        -- One walk of the key for all of them, whatever the statistics say.
        join leasehold.job as job on job.job_id = place.job_id
        where job.job_id = any (array(select place.job_id from place))
      ), excess as materialized (
        -- The end of the line, if all of it weighs too much; of a call that has leased none yet, not the first.
        select
          case when sum(granted.bytes + coalesce(octet_length(granted.checkpoint::text), 0)) > v_bytes then
            leasehold._excess(array_agg(granted.job_id), v_bytes, v_left = p_limit)
          end as job_ids
        from granted
      ), gone as (
        -- Rows of ready are never updated, so the address that was locked is the row.
        delete from leasehold.ready as ready
        where ready.ctid = any (array(
          select place.row_address
          from place
          where place.job_id <> all (coalesce((select excess.job_ids from excess), '{}'))
        ))
      ), leased as (
        insert into leasehold.lease (
          job_id, fence, leased_at, heartbeat_at, expires_at, runs_until, token, worker_id,
          request_id, duration, queue_id, attempt, releases, failures, losses, priority, suspect
        )
        select
          granted.job_id, granted.fence, v_now, v_now, v_now + v_duration,
          v_now + granted.max_runtime, granted.token,
          p_worker_id, p_request_id, v_duration, v_queue.queue_id, granted.attempt,
          granted.releases, granted.failures, granted.losses, granted.priority,
          coalesce(granted.job_id = v_suspect, false)
        from granted
        where granted.job_id <> all (coalesce((select excess.job_ids from excess), '{}'))
      )
      select
        granted.job_id, v_queue.name, granted.priority, granted.payload, granted.headers,
        granted.token, granted.fence, granted.attempt, granted.failures, granted.losses,
        granted.releases,
        granted.checkpoint,
        v_duration, v_duration, granted.max_runtime, granted.enqueued_at, v_now + v_duration
      from granted
      where granted.job_id <> all (coalesce((select excess.job_ids from excess), '{}'))
      order by granted.priority, granted.job_id;

      get diagnostics v_leased = row_count;
      v_left := v_left - v_leased;
      if v_leased > 0 then
        v_bytes := v_bytes / 2;
      end if;
      exit when v_thorough or v_leased > 0;
      v_thorough := true;
    end loop;
  end loop;

  if not v_remembered and exists (
    select from leasehold.request as request where request.request_id = p_request_id
  ) then
    return query
    select * from leasehold._leases_of_request(p_queues, p_worker_id, p_request_id, p_limit);
  end if;
end;
$$;

comment on function leasehold.lease_jobs(text[], uuid, integer, interval, uuid) is
$doc$Leases jobs that can run now: never more than the limit, each to this caller alone.

p_queues      queues to take from, the first before the second; within one by priority, then by age;
              those that do not exist are left out, and register_worker says which these are
p_worker_id   the process that asks, a new uuid at every boot
p_limit       most jobs to lease, 1 to 10000
p_lease       length of the leases, 1 second to 1 day; null: each queue's default
p_request_id  a new uuid for each call: repeating a call whose answer was lost returns the same leases;
              with a smaller limit the first of them, and the others are released

Returns the jobs in the order of the line. Each has its token, to be shown by every later call. Fewer than the
limit need not be all there are: of fifty or more, jobs that another transaction has touched may be passed over for
this call, also where it was rolled back. Payloads, headers and checkpoints of a call weigh 8 MiB at most as text, unless
it is of one job. None is returned only where none can be had.
Of jobs that have lapsed twice or more, which may be what kills their workers, a worker holds one at a time.
Raises LH005 queue_not_found if none of the queues exists, LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the rows it takes and skips what others have locked. Waits up to 5 seconds for a call that is under way
with the same request id, then raises 55P03. Safe to repeat with p_request_id for ten minutes.$doc$;
-- end sql/functions/lease_jobs.sql

-- begin sql/functions/heartbeat.sql
create or replace function leasehold.heartbeat(
  p_job_id bigint,
  p_token uuid,
  p_extend interval default null,
  p_checkpoint jsonb default null
)
  returns leasehold.heartbeat_answer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_called_at timestamptz := leasehold._now();
  v_answer leasehold.heartbeat_answer;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(array[p_job_id], array[p_token], 1);
  p_extend := leasehold._require_span('extension', p_extend, interval '1 second', interval '1 day');
  perform leasehold._require_documents('checkpoint', array[p_checkpoint]);

  loop
    -- The row is locked before the clock is read, so a wait does not eat into the extension. Who called in
    -- time is not late, however long the row was waited for.
    select
      lease.job_id,
      case when lease.expires_at <= v_called_at then 'revived' else 'ok' end,
      null::interval, lease.cancel_requested_at is not null, lease.cancel_reason
    into v_answer
    from leasehold.lease as lease
    where lease.job_id = p_job_id
      and lease.token = p_token
    for no key update skip locked;
    exit when found;

    if not leasehold._revive(array[p_job_id], array[p_token]) then
      if not leasehold._is_current(p_job_id, p_token) then
        perform leasehold._raise_lost(p_job_id, leasehold._settled_status(p_job_id, p_token, true));
      end if;
      perform leasehold._await_holder(p_job_id, p_token, 'no key update');
    end if;
  end loop;

  update leasehold.lease as lease
  set
    heartbeat_at = leasehold._now(),
    expires_at = leasehold._extended(lease, p_extend)
  where lease.job_id = p_job_id
  returning lease.expires_at - leasehold._now() into v_answer.remaining;

  if p_checkpoint is not null then
    perform leasehold._save_checkpoints(array[p_job_id], array[p_checkpoint]);
  end if;
  return v_answer;
end;
$$;

comment on function leasehold.heartbeat(bigint, uuid, interval, jsonb) is
$doc$Renews the caller's lease on a job, and learns whether somebody asks for a cancel.

p_job_id      the job to keep
p_token       the token lease_jobs returned
p_extend      new length counted from now, 1 second to 1 day; null: the length asked for at lease time
p_checkpoint  what the next attempt is to resume from, at most 1 MiB as text; null: leave the last one

Returns ok, or revived if the lease had expired before the call and nobody had leased the job since; the span
that remains; and whether to stop. A lease is never shortened. Past the longest runtime it is renewed for one
more lease length and no further.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat.$doc$;
-- end sql/functions/heartbeat.sql

-- begin sql/functions/heartbeat_many.sql
create or replace function leasehold.heartbeat_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_extend interval default null,
  p_checkpoints jsonb[] default null
)
  returns setof leasehold.heartbeat_answer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- Items and locked leases meet in a hash join, whatever the planner thinks of array lengths.
  set jit = off
  set enable_nestloop = off
  set enable_seqscan = off
as $$
declare
  v_called_at timestamptz := leasehold._now();
  v_renewed record;
  v_held bigint[];
  v_rest_ids bigint[];
  v_rest_tokens uuid[];
  v_locked bigint[];
  v_expired bigint[];
  v_revived boolean := false;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 100000);
  p_extend := leasehold._require_span('extension', p_extend, interval '1 second', interval '1 day');
  perform leasehold._require_companion('checkpoint', p_checkpoints, p_job_ids);
  perform leasehold._require_documents('checkpoint', p_checkpoints);

  v_renewed := leasehold._renew(p_job_ids, p_tokens, p_extend);
  v_held := v_renewed.job_ids;

  if v_held is distinct from p_job_ids then
    select array_agg(item.job_id), array_agg(item.token) into v_rest_ids, v_rest_tokens
    from unnest(p_job_ids, p_tokens) as item (job_id, token)
    left join unnest(v_held) as held (job_id) on held.job_id = item.job_id
    where held.job_id is null;

    loop
      -- A row that a transaction holds, one that completes the job say, must not hold up the other
      -- renewals: it is skipped, and answered as busy.
      select
        array_agg(held.job_id),
        array_agg(held.job_id) filter (where held.expires_at <= v_called_at)
      into v_locked, v_expired
      from (
        select item.job_id, item.token
        from unnest(v_rest_ids, v_rest_tokens) as item (job_id, token)
        order by item.job_id
      ) as item
      cross join lateral (
        select lease.job_id, lease.expires_at
        from leasehold.lease as lease
        where lease.job_id = item.job_id
          and lease.token = item.token
        for no key update skip locked
      ) as held;

      exit when v_revived
        or v_rest_ids is null
        or cardinality(v_locked) >= cardinality(v_rest_ids)
        or not leasehold._revive(v_rest_ids, v_rest_tokens);
      v_revived := true;
    end loop;

    update leasehold.lease as lease
    set
      heartbeat_at = leasehold._now(),
      expires_at = leasehold._extended(lease, p_extend)
    where lease.job_id = any (v_locked);

    v_held := v_held || v_locked;
  end if;

  if p_checkpoints is not null then
    perform leasehold._save_checkpoints(
      array_agg(item.job_id), array_agg(item.data)
    )
    from (
      select distinct on (item.job_id) item.job_id, item.data
      from unnest(p_job_ids, p_tokens, p_checkpoints)
        with ordinality as item (job_id, token, data, ordinality)
      join leasehold.lease as lease on lease.job_id = item.job_id and lease.token = item.token
      where item.data is not null
        and lease.job_id = any (v_held)
      order by item.job_id, item.ordinality desc
    ) as item;
  end if;

  if v_renewed.job_ids = p_job_ids then
    return query
    select
      item.job_id, 'ok', item.expires_at - leasehold._now(),
      item.cancel_requested_at is not null, item.cancel_reason
    from unnest(v_renewed.job_ids, v_renewed.expiries, v_renewed.cancels, v_renewed.reasons)
      as item (job_id, expires_at, cancel_requested_at, cancel_reason);
    return;
  end if;

  return query
  select
    answer.job_id,
    answer.status,
    answer.remaining,
    case answer.status
      when 'lost' then leasehold._settled_status(answer.job_id, answer.token, true) = 'job_cancelled'
      else coalesce(answer.cancel_requested, false)
    end,
    answer.cancel_reason
  from (
    select
      item.job_id,
      item.token,
      item.ordinality,
      case
        when held.job_id is null then case
          when leasehold._is_current(item.job_id, item.token) then 'busy'
          else 'lost'
        end
        when expired.job_id is null then 'ok'
        else 'revived'
      end as status,
      lease.expires_at - leasehold._now() as remaining,
      lease.cancel_requested_at is not null as cancel_requested,
      lease.cancel_reason
    from unnest(p_job_ids, p_tokens) with ordinality as item (job_id, token, ordinality)
    left join leasehold.lease as lease
      on lease.job_id = item.job_id
      and lease.token = item.token
      and lease.job_id = any (p_job_ids)
    left join (select distinct job_id from unnest(v_held) as job_id) as held
      on held.job_id = lease.job_id
    left join (select distinct job_id from unnest(v_expired) as job_id) as expired
      on expired.job_id = lease.job_id
  ) as answer
  order by answer.ordinality;
end;
$$;

comment on function leasehold.heartbeat_many(bigint[], uuid[], interval, jsonb[]) is
$doc$Renews many leases at once; each item is judged alone.

p_job_ids      the jobs to keep, at most 100000
p_tokens       their tokens, in the same order
p_extend       new length counted from now, 1 second to 1 day; null: the length asked for at lease time
p_checkpoints  what to resume from, in the same order, null members leave the last one; null: none at all

Returns an answer an item, in the order given: ok, revived, busy or lost. busy means that another
transaction holds the row just now; it was not renewed, ask again. A lost item whose job was cancelled
has cancel_requested set.
Raises LH006 isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease rows in id order and waits for none longer than 100 ms. Fastest with the ids in ascending
order. Safe to repeat.$doc$;
-- end sql/functions/heartbeat_many.sql

-- begin sql/functions/assert_lease.sql
create or replace function leasehold.assert_lease(
  p_job_id bigint,
  p_token uuid
)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(array[p_job_id], array[p_token], 1);

  loop
    -- The weakest lock that keeps the row from being taken away: heartbeats, which change no key,
    -- pass; reap_expired and every settlement but the caller's own do not.
    perform
    from leasehold.lease as lease
    where lease.job_id = p_job_id
      and lease.token = p_token
    for key share skip locked;
    exit when found;

    if not leasehold._revive(array[p_job_id], array[p_token]) then
      if not leasehold._is_current(p_job_id, p_token) then
        perform leasehold._raise_lost(p_job_id, leasehold._settled_status(p_job_id, p_token, true));
      end if;
      perform leasehold._await_holder(p_job_id, p_token, 'key share');
    end if;
  end loop;
  return true;
end;
$$;

comment on function leasehold.assert_lease(bigint, uuid) is
$doc$Makes sure that the caller holds the job, until the caller's transaction ends.

p_job_id  the job
p_token   the token lease_jobs returned

Call it in the transaction that writes the job's effects: they commit only if the lease is still the
caller's, and nobody can lease the job in between. Heartbeats go on meanwhile. Returns true, or raises.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Holds a key share lock on the lease row until commit; waits up to 10 seconds for another transaction that
holds the row, then raises 55P03. Safe to repeat.$doc$;
-- end sql/functions/assert_lease.sql

-- begin sql/functions/complete.sql
create or replace function leasehold.complete(
  p_job_id bigint,
  p_token uuid,
  p_result jsonb default null
)
  returns leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_settlement leasehold.settlement;
begin
  loop
    select settlement.* into v_settlement
    from leasehold.complete_many(array[p_job_id], array[p_token], array[p_result]) as settlement;
    exit when v_settlement.status <> 'busy';
    perform leasehold._await_holder(p_job_id, p_token, 'update');
  end loop;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.complete(bigint, uuid, jsonb) is
$doc$Completes a job, in the caller's transaction.

p_job_id  the job
p_token   the token lease_jobs returned
p_result  what the handler returned, at most 1 MiB as text; null: nothing

Returns completed (late where the lease had expired and nobody had leased the job since), or
already_completed where this token completed it before.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat: the first result stays.$doc$;
-- end sql/functions/complete.sql

-- begin sql/functions/complete_many.sql
create or replace function leasehold.complete_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_results jsonb[] default null,
  p_brief boolean default false
)
  returns setof leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  set enable_nestloop = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_indexscan = on
as $$
declare
  v_lock_timeout text;
  v_ended record;
  v_job_ids bigint[] := array[]::bigint[];
  v_tokens uuid[] := array[]::uuid[];
  v_late bigint[] := array[]::bigint[];
  v_asked bigint[] := p_job_ids;
  v_are_locked boolean := false;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 10000);
  if p_results is not null then
    perform leasehold._require_companion('result', p_results, p_job_ids);
    perform leasehold._require_documents('result', p_results);
  end if;

  v_lock_timeout := leasehold._limit_waits();
  loop
    with ended as (
      -- One walk of the key. "Case" keeps the pairs a hash table that the planner cannot turn into a join.
      -- What another transaction has touched, and may hold, is left for the second look.
      delete from leasehold.lease as lease
      where lease.job_id = any (v_asked)
        and case when v_are_locked or lease.xmax = '0' then
          (lease.job_id, lease.token) in (
            select item.job_id, item.token from unnest(p_job_ids, p_tokens) as item (job_id, token)
          )
        end
      returning
        lease.job_id, leasehold._now() as ended_at, lease.leased_at, lease.token,
        lease.worker_id, lease.queue_id, lease.attempt, lease.releases, lease.failures,
        lease.losses, lease.priority, lease.expires_at <= leasehold._now() as late
    ), keeping as materialized (
      select queue.queue_id, queue.keep_completed
      from leasehold.queue as queue
      where queue.queue_id = any (array(select distinct ended.queue_id from ended))
        and queue.keep_completed > interval '0'
    ), kept as (
      insert into leasehold.finished (
        job_id, finished_at, keep_until, leased_at, token, worker_id, queue_id,
        attempt, releases, failures, losses, priority, late, outcome, result
      )
      select
        ended.job_id, ended.ended_at, ended.ended_at + keeping.keep_completed, ended.leased_at,
        ended.token, ended.worker_id, ended.queue_id,
        ended.attempt, ended.releases, ended.failures, ended.losses, ended.priority, ended.late,
        'completed', item.result
      from ended
      join keeping on keeping.queue_id = ended.queue_id
      left join (
        -- Of equal items the first counts, as everywhere.
        select distinct on (item.job_id, item.token) item.job_id, item.token, item.result
        from unnest(p_job_ids, p_tokens, p_results)
          with ordinality as item (job_id, token, result, ordinality)
        where p_results is not null
        order by item.job_id, item.token, item.ordinality
      ) as item
        on item.job_id = ended.job_id
        and item.token = ended.token
    )
    select
      array_agg(ended.job_id) as job_ids,
      array_agg(ended.token) as tokens,
      array_agg(ended.job_id) filter (where ended.late) as late,
      array_agg(ended.job_id) filter (
        where ended.queue_id not in (select keeping.queue_id from keeping)
      ) as not_kept,
      case min(ended.queue_id) when max(ended.queue_id) then min(ended.queue_id) end as queue_id
    into v_ended
    from ended;

    v_job_ids := v_job_ids || v_ended.job_ids;
    v_tokens := v_tokens || v_ended.tokens;
    v_late := v_late || v_ended.late;
    if v_ended.not_kept is not null then
      perform leasehold._erase(v_ended.not_kept, v_ended.queue_id);
    end if;
    exit when cardinality(v_job_ids) >= cardinality(p_job_ids) or v_are_locked;

    perform leasehold._revive(p_job_ids, p_tokens);
    select array_agg(free.job_id) into v_asked
    from (
      select item.job_id, item.token
      from unnest(p_job_ids, p_tokens) as item (job_id, token)
      order by item.job_id
    ) as item
    cross join lateral (
      select lease.job_id
      from leasehold.lease as lease
      where lease.job_id = item.job_id
        and lease.token = item.token
      for update skip locked
    ) as free;
    exit when v_asked is null;
    v_are_locked := true;
  end loop;
  perform set_config('lock_timeout', v_lock_timeout, true);

  if cardinality(v_job_ids) = cardinality(p_job_ids) and v_late = '{}' then
    return query select item.job_id, 'completed', false, null::interval
    from unnest(p_job_ids) as item (job_id)
    where p_brief is not true;
    return;
  end if;

  return query
  select
    item.job_id,
    case
      when ended.job_id is null then case
        when leasehold._is_current(item.job_id, item.token) then 'busy'
        else leasehold._settled_status(item.job_id, item.token, true)
      end
      when item.nth > 1 then 'already_completed'
      else 'completed'
    end,
    late.job_id is not null,
    null::interval
  from (
    select item.job_id, item.token, item.ordinality,
      row_number() over (partition by item.job_id, item.token order by item.ordinality) as nth
    from unnest(p_job_ids, p_tokens) with ordinality as item (job_id, token, ordinality)
  ) as item
  left join unnest(v_job_ids, v_tokens) as ended (job_id, token)
    on ended.job_id = item.job_id
    and ended.token = item.token
  left join unnest(v_late) as late (job_id) on late.job_id = ended.job_id
  order by item.ordinality;
end;
$$;

comment on function leasehold.complete_many(bigint[], uuid[], jsonb[], boolean) is
$doc$Completes many jobs at once; each item is judged alone.

p_job_ids  the jobs, at most 10000
p_tokens   their tokens, in the same order
p_results  what the handlers returned, in the same order, each null or JSON of at most 1 MiB as text; null: nothing
p_brief    whether to return nothing where every item was completed in time, as most batches are

Returns a settlement an item, in the order given: completed, already_completed, busy, or why nothing changed:
lease_lost, job_not_found, job_cancelled, job_finished. busy means that another transaction holds the row just
now; the job was not completed, ask again.
Raises LH006 isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease rows in id order and passes over those that are held. Only for a row that another transaction locks
in that instant, it waits up to 10 seconds, then raises 55P03. Safe to repeat: the first accepted result stays.$doc$;
-- end sql/functions/complete_many.sql

-- begin sql/functions/fail.sql
create or replace function leasehold.fail(
  p_job_id bigint,
  p_token uuid,
  p_error text default null,
  p_retry_in interval default null,
  p_retryable boolean default true
)
  returns leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_settlement leasehold.settlement;
begin
  loop
    select settlement.* into v_settlement
    from leasehold.fail_many(
      array[p_job_id], array[p_token], array[left(p_error, 16384)], array[p_retry_in],
      array[p_retryable]
    ) as settlement;
    exit when v_settlement.status <> 'busy';
    perform leasehold._await_holder(p_job_id, p_token, 'update');
  end loop;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.fail(bigint, uuid, text, interval, boolean) is
$doc$Says that the handler failed. Spends one of the job's failures.

p_job_id     the job
p_token      the token lease_jobs returned
p_error      what went wrong, any text; cut to 16384 characters
p_retry_in   delay before the next attempt, 0 to 3660 days; null: the queue's backoff
p_retryable  false: do not try again

Returns failed (it will run again, after retry_in), dead (budget spent, or not retryable), cancelled (a cancel
had been asked for), or already_… where this token settled the job before. Retires the token.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat.$doc$;
-- end sql/functions/fail.sql

-- begin sql/functions/fail_many.sql
create or replace function leasehold.fail_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_errors text[] default null,
  p_retry_in interval[] default null,
  p_retryable boolean[] default null
)
  returns setof leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
declare
  v_endings leasehold._ending[];
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 10000);
  perform leasehold._require_companion('error', p_errors, p_job_ids);
  perform leasehold._require_companion('delay', p_retry_in, p_job_ids);
  perform leasehold._require_companion('retryable', p_retryable, p_job_ids);
  if p_retry_in is not null then
    p_retry_in := array(
      select leasehold._require_span('retry delay', delay, interval '0', interval '3660 days')
      from unnest(p_retry_in) as delay
    );
  end if;

  select array_agg(row(
    verdict.held,
    case when verdict.cancelled then 'cancelled' else 'failed' end,
    verdict.error,
    not verdict.cancelled,
    case
      when verdict.cancelled then 'cancelled'
      when verdict.reason is not null then 'dead'
      when verdict.delay > interval '0' then 'scheduled'
      else 'ready'
    end,
    case when verdict.cancelled then (verdict.held).cancel_reason else verdict.reason end,
    leasehold._now() + verdict.delay
  )::leasehold._ending)
  into v_endings
  from (
    select
      held,
      item.error,
      held.cancel_requested_at is not null as cancelled,
      case
        when item.retryable is false then 'not_retryable'
        when held.failures + 1 < budget.max_failures then null
        -- The word for it that reap_expired uses too.
        when item.error = 'max_runtime_exceeded' then item.error
        else 'max_failures_exceeded'
      end as reason,
      coalesce(
        item.delay, leasehold._backoff(budget.backoff_base, budget.backoff_max, held.failures)
      ) as delay
    from leasehold._take(p_job_ids, p_tokens) as held
    join (
      -- Of equal items the first counts. A text is cut before it is copied from row to row.
      select distinct on (item.job_id, item.token)
        item.job_id, item.token, left(item.error, 16384) as error, item.delay, item.retryable
      from unnest(p_job_ids, p_tokens, p_errors, p_retry_in, p_retryable)
        with ordinality as item (job_id, token, error, delay, retryable, ordinality)
      order by item.job_id, item.token, item.ordinality
    ) as item
      on item.job_id = held.job_id
      and item.token = held.token
    cross join lateral leasehold._budget(held.job_id) as budget
  ) as verdict;

  return query select * from leasehold._answer_endings(p_job_ids, p_tokens, v_endings);
end;
$$;

comment on function leasehold.fail_many(bigint[], uuid[], text[], interval[], boolean[]) is
$doc$Says of many jobs that their handlers failed; each item is judged alone.

p_job_ids    the jobs, at most 10000
p_tokens     their tokens, in the same order
p_errors     what went wrong, in the same order; cut to 16384 characters; null: nothing said
p_retry_in   delay before the next attempt, 0 to 3660 days; null: the queue's backoff
p_retryable  false: do not try again; null: try again

Returns a settlement an item, in the order given: failed (it will run again, after retry_in), dead (budget
spent, or not retryable), cancelled (a cancel had been asked for), already_…, busy, or why nothing changed.
busy means that another transaction holds the row just now; nothing was settled, ask again.
The error max_runtime_exceeded, if it spends the budget, is the reason why the job is dead.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the lease rows in id order and waits for none. Safe to repeat.$doc$;
-- end sql/functions/fail_many.sql

-- begin sql/functions/release_many.sql
create or replace function leasehold.release_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_delays interval[] default null
)
  returns setof leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
declare
  v_endings leasehold._ending[];
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 10000);
  perform leasehold._require_companion('delay', p_delays, p_job_ids);
  if p_delays is not null then
    p_delays := array(
      select leasehold._require_span('delay', delay, interval '0', interval '3660 days')
      from unnest(p_delays) as delay
    );
  end if;

  select array_agg(row(
    held,
    case when held.cancel_requested_at is null then 'released' else 'cancelled' end,
    null,
    false,
    case
      when held.cancel_requested_at is not null then 'cancelled'
      when waits.delay > interval '0' then 'scheduled'
      else 'ready'
    end,
    held.cancel_reason,
    leasehold._now() + waits.delay
  )::leasehold._ending)
  into v_endings
  from leasehold._take(p_job_ids, p_tokens) as held
  join (
    -- Of equal items the first counts.
    select distinct on (item.job_id, item.token)
      item.job_id, item.token, coalesce(item.delay, interval '0') as delay
    from unnest(p_job_ids, p_tokens, p_delays)
      with ordinality as item (job_id, token, delay, ordinality)
    order by item.job_id, item.token, item.ordinality
  ) as item
    on item.job_id = held.job_id
    and item.token = held.token
  cross join lateral (
    select case
      when held.releases < 50 then item.delay
      else greatest(item.delay, leasehold._release_delay(held))
    end as delay
  ) as waits;

  return query select * from leasehold._answer_endings(p_job_ids, p_tokens, v_endings);

  if exists (select from unnest(v_endings) as ending where (ending.held).releases >= 100) then
    perform leasehold._trim_attempts(v_endings);
  end if;

  perform leasehold._wake((ending.held).queue_id, count(*))
  from unnest(v_endings) as ending
  where ending.destination = 'ready'
  group by (ending.held).queue_id;
end;
$$;

comment on function leasehold.release_many(bigint[], uuid[], interval[]) is
$doc$Hands many jobs back, free of charge; each item is judged alone.

p_job_ids  the jobs, at most 10000
p_tokens   their tokens, in the same order
p_delays   how long each is to wait before it may run again, 0 to 3660 days; null members and null: not at all

Returns a settlement an item, in the order given: released, cancelled (a cancel had been asked for), already_…,
busy, or why nothing changed: lease_lost, job_not_found, job_cancelled, job_finished. Retires the tokens.
busy means that another transaction holds the row just now; nothing was settled, ask again.
A job that is released within a minute of its lease more than fifty times in a row waits by the queue's backoff, longer
with every time, of a base of a second at least. Of one released so often the last hundred attempts are kept,
and answer repeated calls.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the lease rows in id order and waits for none. Safe to repeat.$doc$;
-- end sql/functions/release_many.sql

-- begin sql/functions/release.sql
create or replace function leasehold.release(
  p_job_id bigint,
  p_token uuid,
  p_delay interval default interval '0'
)
  returns leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_settlement leasehold.settlement;
begin
  if p_delay is null then
    raise exception 'delay must not be null' using errcode = 'invalid_parameter_value';
  end if;
  loop
    select settlement.* into v_settlement
    from leasehold.release_many(array[p_job_id], array[p_token], array[p_delay]) as settlement;
    exit when v_settlement.status <> 'busy';
    perform leasehold._await_holder(p_job_id, p_token, 'update');
  end loop;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.release(bigint, uuid, interval) is
$doc$Hands a job back, free of charge: neither a failure nor a loss. It keeps its place in line.

p_job_id  the job
p_token   the token lease_jobs returned
p_delay   how long it is to wait before it may run again, 0 to 3660 days

Returns released, cancelled (a cancel had been asked for), or already_… where this token settled the job
before. Retires the token. More than fifty times in a row within a minute of the lease, it waits as release_many says.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat.$doc$;
-- end sql/functions/release.sql

-- begin sql/functions/dead_letter_many.sql
create or replace function leasehold.dead_letter_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_reasons text[] default null
)
  returns setof leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
declare
  v_endings leasehold._ending[];
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 10000);
  perform leasehold._require_companion('reason', p_reasons, p_job_ids);

  select array_agg(row(
    held, 'dead_lettered', item.reason, false, 'dead', coalesce(item.reason, 'dead_lettered'), null
  )::leasehold._ending)
  into v_endings
  from leasehold._take(p_job_ids, p_tokens) as held
  join (
    -- Of equal items the first counts. A text is cut before it is copied from row to row.
    select distinct on (item.job_id, item.token)
      item.job_id, item.token, left(item.reason, 16384) as reason
    from unnest(p_job_ids, p_tokens, p_reasons)
      with ordinality as item (job_id, token, reason, ordinality)
    order by item.job_id, item.token, item.ordinality
  ) as item
    on item.job_id = held.job_id
    and item.token = held.token;

  return query select * from leasehold._answer_endings(p_job_ids, p_tokens, v_endings);
end;
$$;

comment on function leasehold.dead_letter_many(bigint[], uuid[], text[]) is
$doc$Gives many jobs up: they are dead, and kept for a person to look at; each item is judged alone.

p_job_ids  the jobs, at most 10000
p_tokens   their tokens, in the same order
p_reasons  why, in the same order; cut to 16384 characters; null: nothing said

Returns a settlement an item, in the order given: dead, already_…, busy, or why nothing changed: lease_lost,
job_not_found, job_cancelled, job_finished. Retires the tokens and spends no budget.
busy means that another transaction holds the row just now; nothing was settled, ask again.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the lease rows in id order and waits for none. Safe to repeat. redrive takes the jobs back.$doc$;
-- end sql/functions/dead_letter_many.sql

-- begin sql/functions/dead_letter.sql
create or replace function leasehold.dead_letter(
  p_job_id bigint,
  p_token uuid,
  p_reason text default null
)
  returns leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_settlement leasehold.settlement;
begin
  loop
    select settlement.* into v_settlement
    from leasehold.dead_letter_many(
      array[p_job_id], array[p_token], array[left(p_reason, 16384)]
    ) as settlement;
    exit when v_settlement.status <> 'busy';
    perform leasehold._await_holder(p_job_id, p_token, 'update');
  end loop;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.dead_letter(bigint, uuid, text) is
$doc$Gives a job up: it is dead, and kept for a person to look at. Spends no budget.

p_job_id  the job
p_token   the token lease_jobs returned
p_reason  why, any text; cut to 16384 characters

Returns dead, or already_… where this token settled the job before. Retires the token.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat. redrive takes the job back.$doc$;
-- end sql/functions/dead_letter.sql

-- begin sql/functions/job.sql
create or replace function leasehold.job(
  p_job_id bigint,
  p_history_before integer default null
)
  returns leasehold.job_info
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_info leasehold.job_info;
begin
  if p_job_id is null then
    raise exception 'job id must not be null' using errcode = 'invalid_parameter_value';
  end if;

  select info.* into v_info from leasehold._job_infos(array[p_job_id], 100, p_history_before, 16384) as info;
  if not found then
    perform leasehold._raise_lost(p_job_id, 'job_not_found');
  end if;
  return v_info;
end;
$$;

comment on function leasehold.job(bigint, integer) is
$doc$Everything about one job: where it is, who holds it for how long, its attempts, checkpoint and result.

p_job_id          the job
p_history_before  show the history before this attempt; null: the end of it

The history has the newest 100 entries; for those before them, name the attempt of the first one.

Raises LH002 job_not_found, 22023. Never shows a token.$doc$;
-- end sql/functions/job.sql

-- begin sql/functions/peek.sql
create or replace function leasehold.peek(
  p_queue text,
  p_state text default 'ready',
  p_limit integer default 20,
  p_after bigint default null
)
  returns setof leasehold.job_info
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
  v_after bigint := coalesce(p_after, 0);
  v_after_priority smallint := (-1)::smallint;
begin
  perform leasehold._require_limit(p_limit, 1000);
  if (p_state in (
    'scheduled', 'ready', 'blocked', 'leased', 'completed', 'dead', 'cancelled'
  )) is not true then
    raise exception 'unknown state "%"', left(p_state, 255)
      using errcode = 'invalid_parameter_value',
        hint = 'States are scheduled, ready, blocked, leased, completed, dead and cancelled.';
  end if;
  v_queue := leasehold._queue(p_queue);

  if p_after is not null then
    select job.priority into v_after_priority from leasehold.job as job where job.job_id = p_after;
    if not found then
      perform leasehold._raise_lost(p_after, 'job_not_found');
    end if;
  end if;

  -- Of the branches one runs; each walks an index and stops at the limit.
  return query
  select info.*
  from leasehold._job_infos(array(
    (
      select ready.job_id
      from leasehold.ready as ready
      where p_state = 'ready'
        and ready.queue_id = v_queue.queue_id
        and (ready.priority, ready.job_id) > (v_after_priority, v_after)
      order by ready.priority, ready.job_id
      limit p_limit
    )
    union all (
      select scheduled.job_id
      from leasehold.scheduled as scheduled
      where p_state = 'scheduled'
        and scheduled.queue_id = v_queue.queue_id
        and scheduled.job_id > v_after
      order by scheduled.job_id
      limit p_limit
    )
    union all (
      select blocked.job_id
      from leasehold.blocked as blocked
      where p_state = 'blocked'
        and blocked.queue_id = v_queue.queue_id
        and blocked.job_id > v_after
      order by blocked.job_id
      limit p_limit
    )
    union all (
      select lease.job_id
      from leasehold.lease as lease
      where p_state = 'leased'
        and lease.queue_id = v_queue.queue_id
        and lease.job_id > v_after
      order by lease.job_id
      limit p_limit
    )
    union all (
      select finished.job_id
      from leasehold.finished as finished
      where finished.outcome = p_state
        and finished.queue_id = v_queue.queue_id
        and finished.job_id > v_after
      order by finished.job_id
      limit p_limit
    )
  ), 10, null, 1000) as info;
end;
$$;

comment on function leasehold.peek(text, text, integer, bigint) is
$doc$A page of a queue's jobs in one state, without touching them.

p_queue  the queue
p_state  scheduled, ready, blocked, leased, completed, dead or cancelled
p_limit  most jobs to show, 1 to 1000
p_after  the last job of the page before; null: from the beginning

Ready jobs come in the order in which they will run, all others by job id. Of their history, peek shows the newest ten
entries, with errors cut to 1000 characters; job shows more. Never shows a token.
Raises LH002 job_not_found, LH005 queue_not_found, 22023.$doc$;
-- end sql/functions/peek.sql

-- begin sql/functions/redrive.sql
create or replace function leasehold.redrive(
  p_job_ids bigint[] default null,
  p_queue text default null,
  p_limit integer default 1000
)
  returns setof bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_queue leasehold.queue;
  v_now timestamptz;
  v_job_ids bigint[];
  v_redriven record;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 10000);
  if (p_job_ids is null) = (p_queue is null) then
    raise exception 'name either job ids or a queue' using errcode = 'invalid_parameter_value';
  end if;
  if p_job_ids is not null then
    perform
      leasehold._require_list('job ids', p_job_ids),
      leasehold._require_number('number of job ids', cardinality(p_job_ids), 0, p_limit);
  end if;
  if p_queue is not null then
    v_queue := leasehold._queue(p_queue);
  end if;
  v_now := leasehold._now();

  -- Prune locks the same rows first, so that neither waits for the other.
  v_job_ids := array(
    select job.job_id
    from leasehold.job as job
    where job.job_id = any (array(
      select dead.job_id
      from leasehold.finished as finished
      join leasehold.job as dead
        on dead.queue_id = finished.queue_id
        and dead.job_id = finished.job_id
      join leasehold.queue as queue
        on queue.queue_id = finished.queue_id
        and queue.dropped_at is null
      where finished.outcome = 'dead'
        and (p_job_ids is null or finished.job_id = any (p_job_ids))
        and (p_queue is null or finished.queue_id = v_queue.queue_id)
        and not exists (
          select
          from leasehold.dedup as dedup
          where dedup.queue_id = dead.queue_id
            and dedup.dedup_key = dead.dedup_key
            and dedup.job_id <> dead.job_id
            and leasehold._is_live(dedup.job_id)
        )
      order by dead.job_id
      limit p_limit
    ))
    order by job.job_id
    for no key update skip locked
  );

  v_lock_timeout := leasehold._limit_waits();
  -- Of the jobs of one key one may live. A key that is free, or that no live job has, is taken back.
  with keyed as (
    select job.job_id, job.queue_id, job.dedup_key
    from leasehold.job as job
    where job.job_id = any (v_job_ids)
      and job.dedup_key is not null
  ), taken as (
    insert into leasehold.dedup as dedup (job_id, expires_at, queue_id, dedup_key)
    select distinct on (keyed.queue_id, keyed.dedup_key)
      keyed.job_id, v_now, keyed.queue_id, keyed.dedup_key
    from keyed
    order by keyed.queue_id, keyed.dedup_key, keyed.job_id
    on conflict on constraint dedup_key_is_taken_once_a_queue do update
    set job_id = excluded.job_id
    where dedup.job_id = excluded.job_id
      or not leasehold._is_live(dedup.job_id)
    returning dedup.job_id
  )
  select array_agg(mine.job_id) into v_job_ids
  from unnest(v_job_ids) as mine (job_id)
  where not exists (select from keyed where keyed.job_id = mine.job_id)
    or exists (select from taken where taken.job_id = mine.job_id);
  perform set_config('lock_timeout', v_lock_timeout, true);

  with risen as (
    delete from leasehold.finished as finished
    using leasehold.job as job
    where job.job_id = any (v_job_ids)
      and finished.queue_id = job.queue_id
      and finished.job_id = job.job_id
      and finished.outcome = 'dead'
    returning finished.*
  ), renewed as (
    update leasehold.job as job
    set generation = job.generation + 1, redriven_after = risen.attempt
    from risen
    where job.job_id = risen.job_id
  ), put_back as (
    -- A new generation has all its budgets; attempts go on counting, so the fence never falls.
    insert into leasehold.ready (job_id, queue_id, attempt, releases, failures, losses, priority)
    select risen.job_id, risen.queue_id, risen.attempt, 0, 0, 0, risen.priority
    from risen
    returning job_id, queue_id
  )
  select array_agg(put_back.job_id order by put_back.job_id) as job_ids, array_agg(put_back.queue_id) as queue_ids
  into v_redriven
  from put_back;

  perform leasehold._wake(queue_id, count(*))
  from unnest(v_redriven.queue_ids) as queue_id
  group by queue_id;
  return query select unnest(v_redriven.job_ids);
end;
$$;

comment on function leasehold.redrive(bigint[], text, integer) is
$doc$Puts dead jobs back in line as a new generation: all budgets whole, no time to live, history kept.

p_job_ids  the dead jobs, at most p_limit; or
p_queue    any dead jobs of this queue, oldest first
p_limit    most jobs to put back, 1 to 10000

Returns the ids of the jobs it put back. Left alone are jobs that are not dead, whose queue was dropped, that another
call holds, or whose dedup key another live job has: enqueue with that key returns the id of that one.
A job that is put back has its dedup key again. Waits up to 10 seconds for a transaction that has
enqueued a job of that key, then raises 55P03.
Raises LH005 queue_not_found, LH006 isolation_not_supported, LH007 read_only, 22023. Safe to repeat.$doc$;
-- end sql/functions/redrive.sql

-- begin sql/internal/_promote.sql
-- Makes scheduled jobs ready whose time has come: the longest due up to a limit, or one job alone.
create or replace function leasehold._promote(
  p_limit integer,
  p_job_id bigint default null
)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := leasehold._now();
  v_queue_ids integer[];
begin
  with due as (
    -- Rows of scheduled are never updated, so the address that is locked is the row.
    delete from leasehold.scheduled as scheduled
    where scheduled.ctid = any (array(
      select due.ctid
      from leasehold.scheduled as due
      where p_job_id is null
        and due.run_at <= v_now
      order by due.run_at
      limit p_limit
      for update skip locked
    ) || array(
      select due.ctid
      from leasehold.job as job
      join leasehold.scheduled as due
        on due.queue_id = job.queue_id
        and due.job_id = job.job_id
      where job.job_id = p_job_id
        and due.run_at <= v_now
      for update of due skip locked
    ))
    returning scheduled.*
  ), promoted as (
    insert into leasehold.ready (
      job_id, live_until, queue_id, attempt, releases, failures, losses, priority, suspect
    )
    select
      due.job_id, due.live_until, due.queue_id, due.attempt, due.releases, due.failures,
      due.losses, due.priority, due.suspect
    from due
    returning queue_id
  )
  select array_agg(promoted.queue_id) into v_queue_ids from promoted;

  perform leasehold._wake(queue_id, count(*))
  from unnest(v_queue_ids) as queue_id
  group by queue_id;
  return coalesce(cardinality(v_queue_ids), 0);
end;
$$;
-- end sql/internal/_promote.sql

-- begin sql/internal/_reap.sql
-- Takes away leases that have expired, and ends waiting jobs whose time to live has passed: up to a limit,
-- or one job alone.
create or replace function leasehold._reap(
  p_limit integer,
  p_job_id bigint default null
)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := leasehold._now();
  v_endings leasehold._ending[];
  v_expired bigint[];
begin
  if leasehold._note_outage(v_now) then
    select array_agg(row(
      verdict.held,
      case
        when verdict.cancelled then 'cancelled'
        when verdict.overran then 'overran'
        else 'expired'
      end,
      case when verdict.overran then 'max_runtime_exceeded' else 'lease_expired' end,
      verdict.counted,
      case
        when verdict.cancelled then 'cancelled'
        when verdict.reason is not null then 'dead'
        else 'ready'
      end,
      coalesce(verdict.reason, (verdict.held).cancel_reason),
      null
    )::leasehold._ending)
    into v_endings
    from (
      select
        judged.held,
        judged.cancelled,
        judged.overran,
        judged.counted,
        case
          when judged.cancelled then null
          when judged.overran then
            case when (judged.held).failures + 1 >= budget.max_failures then 'max_runtime_exceeded' end
          when judged.counted and (judged.held).losses + 1 >= budget.max_losses then 'lease_expired'
        end as reason
      from (
        select
          lapsed.held,
          lapsed.cancelled,
          lapsed.overran,
          not lapsed.cancelled and (
            lapsed.overran
            or not lapsed.survived and (
              not lapsed.in_company
              -- The only suspect among them. Every other time: one that has not lapsed before may be the one
              -- that kills, and is a suspect itself the next time but one.
              or (lapsed.held).suspect and leasehold._lapses((lapsed.held).job_id) % 2 = 0
            )
          ) as counted
        from (
          select
            lapsed.held,
            lapsed.in_company,
            lapsed.survived,
            (lapsed.held).cancel_requested_at is not null as cancelled,
            coalesce((lapsed.held).heartbeat_at >= (lapsed.held).runs_until, false) as overran
          from leasehold._take_lapsed(v_now, p_limit, p_job_id) as lapsed
        ) as lapsed
      ) as judged
      cross join lateral leasehold._budget((judged.held).job_id) as budget
    ) as verdict;

    perform leasehold._end_attempts(v_endings);
    perform leasehold._wake((held).queue_id, count(*))
    from unnest(v_endings)
    where destination = 'ready'
    group by (held).queue_id;
  end if;

  v_expired := array(
    select ready.job_id
    from leasehold.ready as ready
    where ready.live_until <= v_now
      and (p_job_id is null or ready.job_id = p_job_id)
    limit p_limit
    for update skip locked
  ) || array(
    select scheduled.job_id
    from leasehold.scheduled as scheduled
    where scheduled.live_until <= v_now
      and (p_job_id is null or scheduled.job_id = p_job_id)
    limit p_limit
    for update skip locked
  ) || array(
    select blocked.job_id
    from leasehold.blocked as blocked
    where blocked.live_until <= v_now
      and (p_job_id is null or blocked.job_id = p_job_id)
    limit p_limit
    for update skip locked
  );
  return coalesce(cardinality(v_endings), 0)
    + cardinality(leasehold._withdraw(v_expired[1:p_limit], 'dead', 'ttl_expired'));
end;
$$;
-- end sql/internal/_reap.sql

-- begin sql/internal/_prune_jobs.sql
-- Removes those of these jobs that have ended and whose retention has passed. Waits for nobody: who redrives
-- a job or removes it holds its row.
create or replace function leasehold._prune_jobs(
  p_job_ids bigint[],
  p_now timestamptz
)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_queue_ids integer[];
  v_job_ids bigint[];
  v_gone bigint[];
begin
  select array_agg(free.queue_id), array_agg(free.job_id) into v_queue_ids, v_job_ids
  from (
    select job.queue_id, job.job_id
    from leasehold.job as job
    where job.job_id = any (p_job_ids)
    order by job.job_id
    for update skip locked
  ) as free;

  -- Looked at again: one may have been redriven before its row was locked.
  with gone as (
    delete from leasehold.finished as finished
    using unnest(v_queue_ids, v_job_ids) as free (queue_id, job_id)
    where finished.queue_id = free.queue_id
      and finished.job_id = free.job_id
      and finished.keep_until <= p_now
    returning finished.job_id
  )
  select array_agg(gone.job_id) into v_gone from gone;

  return case when v_gone is null then 0 else leasehold._erase(v_gone) end;
end;
$$;
-- end sql/internal/_prune_jobs.sql

-- begin sql/internal/_prune_finished.sql
-- Removes finished jobs whose retention has passed, the longest past first, up to a limit or until an instant.
-- Answers how many, and whether it came to the end of them.
create or replace function leasehold._prune_finished(
  p_limit integer,
  p_until timestamptz,
  out pruned integer,
  out is_through boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
as $$
declare
  v_now timestamptz := leasehold._now();
  v_done_until timestamptz;
  v_from timestamptz;
  v_limit integer;
  v_last timestamptz;
  v_job_ids bigint[];
  v_gone integer;
begin
  -- Every few minutes from the very first: a transaction may have outlasted the retention of a job that it completed.
  select
    case
      when upkeep.done_until <= v_now
        and upkeep.last_run_at >= v_now - random() * interval '5 minutes'
      then upkeep.done_until
      else '-infinity'
    end
  into v_done_until
  from leasehold.upkeep as upkeep
  where upkeep.task = 'finished';
  v_from := v_done_until;
  pruned := 0;

  loop
    v_limit := least(1000, p_limit - pruned);
    select array_agg(past.job_id), max(past.keep_until) into v_job_ids, v_last
    from (
      select finished.job_id, finished.keep_until
      from leasehold.finished as finished
      where finished.keep_until between v_from and v_now
      order by finished.keep_until
      limit v_limit
    ) as past;
    is_through := coalesce(cardinality(v_job_ids), 0) < v_limit;
    v_gone := leasehold._prune_jobs(v_job_ids, v_now);
    pruned := pruned + v_gone;

    exit when is_through or pruned >= p_limit or leasehold._now() >= p_until;
    -- Rows of one instant that are all held must not keep the others.
    v_from := v_last + case when v_gone = 0 and v_last = v_from then interval '1 microsecond' else '0' end;
  end loop;

  -- What vacuum may not remove yet is not walked past again.
  v_done_until := least(v_now, (
    select finished.keep_until
    from leasehold.finished as finished
    where finished.keep_until >= v_done_until
    order by finished.keep_until
    limit 1
  ));
  update leasehold.upkeep as upkeep
  set done_until = v_done_until
  where upkeep.task = (
    select held.task
    from leasehold.upkeep as held
    where held.task = 'finished'
      and held.done_until <> v_done_until
    for update skip locked
  );
end;
$$;
-- end sql/internal/_prune_finished.sql

-- begin sql/internal/_sweep.sql
-- Removes rows of dedup or request whose time has passed, page by page from where the last call stopped, until
-- an instant. Answers how many, and whether it came to the end of the table. A look takes as long as the pages
-- it reads, whatever has yet to be vacuumed, and neither table pays for an index.
create or replace function leasehold._sweep(
  p_task text,
  p_until timestamptz,
  out swept integer,
  out is_through boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := leasehold._now();
  v_pages bigint := pg_relation_size(('leasehold.' || p_task)::regclass)
    / current_setting('block_size')::integer;
  v_page bigint;
  v_first tid;
  v_end tid;
  v_gone integer;
begin
  select upkeep.next_page into v_page from leasehold.upkeep as upkeep where upkeep.task = p_task;
  swept := 0;
  loop
    is_through := coalesce(v_page, 0) >= v_pages;
    exit when is_through;
    v_first := format('(%s,0)', v_page)::tid;
    v_page := v_page + 8;
    v_end := format('(%s,0)', v_page)::tid;

    if p_task = 'dedup' then
      delete from leasehold.dedup as dedup
      where dedup.ctid = any (array(
        select old.ctid
        from leasehold.dedup as old
        where old.ctid >= v_first
          and old.ctid < v_end
          and old.expires_at <= v_now
          and not leasehold._is_live(old.job_id)
        for update skip locked
      ));
    else
      delete from leasehold.request as request
      where request.ctid = any (array(
        select old.ctid
        from leasehold.request as old
        where old.ctid >= v_first
          and old.ctid < v_end
          and old.requested_at < v_now - interval '10 minutes'
        for update skip locked
      ));
    end if;
    get diagnostics v_gone = row_count;
    swept := swept + v_gone;
    exit when leasehold._now() >= p_until;
  end loop;

  v_page := case when is_through then 0 else v_page end;
  update leasehold.upkeep as upkeep
  set next_page = v_page
  where upkeep.task = (
    select held.task
    from leasehold.upkeep as held
    where held.task = p_task
      and held.next_page <> v_page
    for update skip locked
  );
end;
$$;
-- end sql/internal/_sweep.sql

-- begin sql/internal/_perform.sql
-- Does a task of maintenance, up to a limit or until an instant, or for one job alone. Answers how many
-- rows that were, and whether nothing is left to do.
create or replace function leasehold._perform(
  p_task text,
  p_limit integer,
  p_until timestamptz,
  p_job_id bigint,
  out done integer,
  out is_through boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := leasehold._now();
begin
  case p_task
    when 'promote' then
      done := leasehold._promote(p_limit, p_job_id);
    when 'reap' then
      done := leasehold._reap(p_limit, p_job_id);
    when 'finished' then
      if p_job_id is null then
        select task.pruned, task.is_through into done, is_through
        from leasehold._prune_finished(p_limit, p_until) as task;
      else
        done := leasehold._prune_jobs(array[p_job_id], v_now);
      end if;
    when 'dropped' then
      -- Jobs that slipped into their queue while that was dropped.
      done := cardinality(leasehold._withdraw(
        array(
          select live.job_id
          from leasehold.queue as queue
          join leasehold._live as live on live.queue_id = queue.queue_id
          where queue.dropped_at is not null
            and live.state <> 'leased'
          limit p_limit
        ),
        'cancelled',
        'queue_dropped'
      ));
    when 'dedup', 'request' then
      select task.swept, task.is_through into done, is_through
      from leasehold._sweep(p_task, p_until) as task;
    when 'worker' then
      delete from leasehold.outage as outage
      where outage.ctid = any (array(
        select old.ctid
        from leasehold.outage as old
        where old.ended_at < v_now - interval '48 hours'
        for update skip locked
      ));
      delete from leasehold.worker as worker
      where worker.worker_id = any (array(
        select old.worker_id
        from leasehold.worker as old
        where old.heartbeat_at < v_now - interval '24 hours'
          and not exists (
            select from leasehold.lease as lease where lease.worker_id = old.worker_id
          )
        for update skip locked
      ));
      get diagnostics done = row_count;
    when 'tally' then
      with folded as (
        delete from leasehold.tally as tally
        where tally.ctid = any (array(
          select old.ctid from leasehold.tally as old limit p_limit for update skip locked
        ))
        returning tally.queue_id, tally.job_id, tally.pruned
      ), fold as (
        insert into leasehold.tally (queue_id, job_id, pruned)
        select folded.queue_id, min(folded.job_id), sum(folded.pruned)
        from folded
        group by folded.queue_id
      )
      select count(*)::integer into done from folded;
    when 'mark' then
      done := leasehold._lower_marks();
  end case;
  is_through := coalesce(is_through, done < p_limit);
end;
$$;
-- end sql/internal/_perform.sql

-- begin sql/internal/_failing_jobs.sql
-- The jobs, in any order, of which one makes a task of maintenance fail.
create or replace function leasehold._failing_jobs(
  p_task text,
  p_limit integer
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := leasehold._now();
begin
  return array(
    select failing.job_id
    from (
      (
        select scheduled.job_id
        from leasehold.scheduled as scheduled
        where p_task = 'promote'
          and scheduled.run_at <= v_now
        limit 10 * p_limit
      )
      union all (
        select lease.job_id
        from leasehold.lease as lease
        where p_task = 'reap'
          and lease.expires_at <= v_now
        limit 10 * p_limit
      )
      union all (
        select live.job_id
        from leasehold._live as live
        where p_task = 'reap'
          and live.state <> 'leased'
          and live.live_until <= v_now
        limit 10 * p_limit
      )
      union all (
        select finished.job_id
        from leasehold.finished as finished
        where p_task = 'finished'
          and finished.keep_until <= v_now
        limit 10 * p_limit
      )
    ) as failing
    order by random()
    limit p_limit
  );
end;
$$;
-- end sql/internal/_failing_jobs.sql

-- begin sql/internal/_maintain.sql
-- Does a task of maintenance, if it is due and nobody else is at it, or in any case. Never fails, not even where it
-- is cancelled: what fails is undone, noted, and tried again later, less of it at a time; its jobs at
-- once, one by one, so that one of them does not keep all others.
create or replace function leasehold._maintain(
  p_task text,
  p_limit integer,
  p_span interval,
  p_always boolean,
  out done integer,
  out is_through boolean,
  out problem text,
  out is_cancelled boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
as $$
declare
  v_now timestamptz := leasehold._now();
  v_until timestamptz := v_now + p_span;
  v_every interval := case p_task
    when 'promote' then interval '0'
    when 'reap' then interval '500 milliseconds'
    when 'dedup' then interval '10 minutes'
    when 'mark' then interval '10 minutes'
    else interval '1 minute'
  end;
  v_upkeep leasehold.upkeep;
  v_job_id bigint;
begin
  done := 0;
  is_through := true;
  is_cancelled := false;
  begin
    select upkeep.* into v_upkeep
    from leasehold.upkeep as upkeep
    where upkeep.task = p_task;
    if not p_always and v_upkeep.due_at > v_now and v_upkeep.last_run_at <= v_now then
      return;
    end if;
    if not p_always and v_every > interval '0' then
      perform
      from leasehold.upkeep as upkeep
      where upkeep.task = p_task
        and (upkeep.due_at <= v_now or upkeep.last_run_at > v_now)
      for update skip locked;
      -- Who holds it may be a transaction that somebody forgot: it is not waited for for long.
      if not found and v_upkeep.due_at > v_now - interval '10 seconds' then
        return;
      end if;
    end if;

    select task.done, task.is_through into done, is_through
    from leasehold._perform(
      p_task, greatest(1, p_limit >> least(v_upkeep.failures, 20)), v_until, null
    ) as task;
  exception
    when query_canceled then
      problem := sqlerrm;
      is_cancelled := true;
    when lock_not_available or deadlock_detected then
      problem := sqlerrm;
    when others then
      problem := sqlerrm;
      begin
        foreach v_job_id in array leasehold._failing_jobs(p_task, 1000) loop
          begin
            done := done + (
              select task.done from leasehold._perform(p_task, 1, v_until, v_job_id) as task
            );
          exception
            when others then
              problem := format('job %s: %s', v_job_id, sqlerrm);
          end;
          exit when leasehold._now() >= v_now + interval '200 milliseconds';
        end loop;
      exception
        when query_canceled then
          done := 0;
          is_cancelled := true;
        when others then
          done := 0;
      end;
  end;

  if problem is not null then
    raise warning 'maintenance task "%" failed: %', p_task, problem;
  elsif v_every = interval '0' and v_upkeep.failures = 0 and v_upkeep.last_run_at <= v_now then
    return;
  end if;
  begin
    update leasehold.upkeep as upkeep
    set
      last_run_at = case when problem is null then v_now else least(upkeep.last_run_at, v_now) end,
      due_at = v_now + case
        when problem is not null then least(
          make_interval(secs => 2.0 ^ least(upkeep.failures, 20)), greatest(v_every, interval '5 seconds')
        )
        when is_through then v_every
        else interval '0'
      end,
      failures = case when problem is null then 0 else upkeep.failures + 1 end,
      error = left(problem, 16384)
    where upkeep.task = (
      select held.task
      from leasehold.upkeep as held
      where held.task = p_task
      for update skip locked
    );
  exception
    -- Then it is tried again sooner than it need be.
    when query_canceled or others then null;
  end;
end;
$$;
-- end sql/internal/_maintain.sql

-- begin sql/functions/promote_due.sql
create or replace function leasehold.promote_due(p_limit integer default 1000)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 10000);
  return leasehold._promote(p_limit);
end;
$$;

comment on function leasehold.promote_due(integer) is
$doc$Makes scheduled jobs ready whose time has come, the longest due first, and wakes their workers.

p_limit  most jobs to move, 1 to 10000

Returns how many it moved. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
-- end sql/functions/promote_due.sql

-- begin sql/functions/reap_expired.sql
create or replace function leasehold.reap_expired(p_limit integer default 1000)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 10000);
  return leasehold._reap(p_limit);
end;
$$;

comment on function leasehold.reap_expired(integer) is
$doc$Takes away leases that have expired, and ends jobs whose time to live has passed before their first start.

p_limit  most leases, and most waiting jobs, to take, 1 to 10000

An expired job becomes ready again, or cancelled if a cancel was asked for. It is charged a loss, and dead when
its losses are spent (lease_expired), if its worker held nothing else. If a worker vanishes with several jobs, none
is charged; a job that has lapsed twice is leased apart from others of its kind, and then charged every other time.
A job that was renewed past its longest runtime failed instead (max_runtime_exceeded).
Nothing is charged if its worker is seen again, which register_worker takes back what was charged for. A loss that
would be the last waits one lease length for that. So does every lease that expired while nobody called
reap_expired, or while no worker was seen: the database was away, or its clock was set.
Returns how many it took. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
-- end sql/functions/reap_expired.sql

-- begin sql/functions/prune.sql
create or replace function leasehold.prune(p_limit integer default 10000)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
  v_task record;
  v_pruned integer := 0;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 100000);

  foreach v_name in array array['finished', 'dropped', 'dedup', 'request', 'worker', 'tally', 'mark'] loop
    select task.* into v_task
    from leasehold._maintain(v_name, p_limit, interval '1 day', true) as task;
    if v_name = 'finished' then
      v_pruned := v_task.done;
    end if;
    exit when v_task.is_cancelled;
  end loop;
  return v_pruned;
end;
$$;

comment on function leasehold.prune(integer) is
$doc$Removes what is past its time: finished jobs after their retention with all that belongs to them, dedup
keys, remembered requests, workers not seen for a day. tick does the same, a little at a time.

p_limit  most jobs to remove, 1 to 100000

Returns how many jobs it removed. It passes over jobs that somebody holds. What fails is undone and left for the
next call, with a warning; the rest is kept. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
-- end sql/functions/prune.sql

-- begin sql/functions/tick.sql
create or replace function leasehold.tick()
  returns leasehold.tick_answer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_answer leasehold.tick_answer;
  v_name text;
  v_task record;
  v_is_through boolean := true;
begin
  perform leasehold._require_read_committed();

  v_answer.failed := '{}';
  foreach v_name in array array['promote', 'reap', 'finished', 'dropped', 'dedup', 'request', 'worker', 'tally', 'mark'] loop
    select task.* into v_task
    from leasehold._maintain(
      v_name,
      case when v_name in ('promote', 'reap', 'dropped') then 1000 else 100000 end,
      interval '50 milliseconds',
      false
    ) as task;
    case v_name
      when 'promote' then v_answer.promoted := v_task.done;
      when 'reap' then v_answer.reaped := v_task.done;
      when 'finished' then v_answer.pruned := v_task.done;
      else null;
    end case;
    v_is_through := v_is_through and v_task.is_through;
    if v_task.problem is not null then
      v_answer.failed := v_answer.failed || v_name;
    end if;
    -- The time of this statement is up: what is done is kept.
    exit when v_task.is_cancelled;
  end loop;

  v_answer.next_due_in := case when v_is_through then (
    select greatest(scheduled.run_at - leasehold._now(), interval '0')
    from leasehold.scheduled as scheduled
    order by scheduled.run_at
    limit 1
  ) else interval '0' end;
  select count(*)::integer into v_answer.workers
  from leasehold.worker as worker
  where worker.heartbeat_at > leasehold._now() - interval '1 minute';
  return v_answer;
end;
$$;

comment on function leasehold.tick() is
$doc$One round of maintenance: promotes what is due, reaps at most twice a second, prunes once a minute, however
many processes call it. Call it about once a second, from any process or pg_cron; again at once
if next_due_in is zero.

Each task fails alone: what it did is undone, all else is kept, also if the statement is cancelled or its time is
up. A task that failed is named in the answer, its error is a warning and stands in table upkeep, and it is
tried again after 1, 2, 4 … seconds. A job that makes a task fail does not keep the other jobs.
No task waits longer than 100 ms for a lock, and none of prune works longer than about 50 ms.
Returns what it did, the span until there is more to do, and how many workers there are to call it.
Raises LH006 isolation_not_supported, LH007 read_only. Several at once do no harm; there is no leader.$doc$;
-- end sql/functions/tick.sql

-- begin sql/functions/schema_version.sql
create or replace function leasehold.schema_version()
  returns integer
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
return 1;

comment on function leasehold.schema_version() is
$doc$The version of this schema: the number of the last migration. Clients refuse older ones than they know,
and newer ones that do not serve them any more: see oldest_client.$doc$;
-- end sql/functions/schema_version.sql

-- begin sql/functions/oldest_client.sql
create or replace function leasehold.oldest_client()
  returns integer
  language sql
  immutable
  set search_path = pg_catalog, pg_temp
return 1;

comment on function leasehold.oldest_client() is
$doc$The oldest schema version whose clients this schema serves. A client made for it or a later one works on, so
that old processes, a rollback and new ones are there at the same time.$doc$;
-- end sql/functions/oldest_client.sql

-- begin sql/grants.sql
-- Nothing is for everyone. An operator grants usage on the schema and execute on functions to the roles
-- of producers and workers; nobody needs a right on a table, since the functions run as their owner.
revoke all on schema leasehold from public;
revoke all on all tables in schema leasehold from public;
revoke all on all sequences in schema leasehold from public;
revoke all on all functions in schema leasehold from public;
-- end sql/grants.sql
