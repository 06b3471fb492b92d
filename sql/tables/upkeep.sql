create table leasehold.upkeep (
  task text primary key,
  last_run_at timestamptz not null
) with (fillfactor = 10);

insert into leasehold.upkeep (task, last_run_at)
values ('reap', '-infinity'), ('prune', '-infinity'), ('dedup', '-infinity')
on conflict do nothing;

comment on table leasehold.upkeep is
  'When tick last did a piece of maintenance, so that a hundred processes do it no more often than one.';
