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
