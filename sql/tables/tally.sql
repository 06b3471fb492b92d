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
