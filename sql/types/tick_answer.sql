create type leasehold.tick_answer as (
  reaped integer,
  promoted integer,
  pruned integer,
  next_due_in interval,
  workers integer
);

comment on type leasehold.tick_answer is
$doc$What one round of maintenance did. next_due_in is the span until the next scheduled job is due,
zero where more waits already, null where none is scheduled. workers were seen within the last minute:
where there are many, each need tick less often.$doc$;
