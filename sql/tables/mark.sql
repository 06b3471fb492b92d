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
