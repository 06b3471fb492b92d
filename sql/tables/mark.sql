create table leasehold.mark (
  queue_id integer primary key,
  job_ids bigint[] not null,
  constraint mark_has_a_place_for_every_priority check (cardinality(job_ids) = 10)
) with (
  fillfactor = 50
);

comment on table leasehold.mark is
$doc$Where the line of each priority begins: with a smaller id there are only jobs that returned, which have an
index of their own. So lease_jobs walks past what was there once and cannot be removed yet, only now and then.
Moves where a look for jobs has become slow, and never back.$doc$;
comment on column leasehold.mark.job_ids is 'for priority 0 to 9';
