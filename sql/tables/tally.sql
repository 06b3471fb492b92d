create table leasehold.tally (
  queue_id integer not null,
  pruned bigint not null
);

comment on table leasehold.tally is
$doc$Counts of jobs that left no row behind. Only ever appended to, so that nobody waits for a counter;
prune folds the rows into one a queue.$doc$;
comment on column leasehold.tally.pruned is 'jobs removed: kept for no time, past their retention, or purged';
