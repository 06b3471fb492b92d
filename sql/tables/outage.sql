create table leasehold.outage (
  started_at timestamptz not null,
  ended_at timestamptz not null,
  primary key (started_at, ended_at),
  constraint outage_ends_after_it_starts check (started_at < ended_at)
);

comment on table leasehold.outage is
$doc$Stretches in which no worker was seen and leases lapsed. A lease that lapsed in one counts no loss
if its worker has been seen since: the database was away, not the worker.$doc$;
