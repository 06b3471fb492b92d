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
