create table leasehold.outage (
  started_at timestamptz not null,
  ended_at timestamptz not null,
  primary key (started_at, ended_at),
  constraint outage_ends_after_it_starts check (started_at < ended_at)
);

comment on table leasehold.outage is
$doc$Stretches in which leases expired while nobody looked, or while no worker was seen: the database was away,
or its clock was set. What expired in one is left alone for one more length, so that its worker can come back.$doc$;
