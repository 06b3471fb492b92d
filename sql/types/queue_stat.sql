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
