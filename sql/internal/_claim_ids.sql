-- Says that this transaction will commit jobs with ids from here on, so that no mark passes them
-- meanwhile. It holds on to a block of 4096 ids, from the last one that was given away before it takes its
-- own. False where somebody is in the way: then its jobs must be looked for below the mark too.
create or replace function leasehold._claim_ids()
  returns boolean
  language sql
  volatile
return pg_catalog.pg_try_advisory_xact_lock_shared(
  leasehold._enqueue_class(),
  (coalesce(pg_catalog.pg_sequence_last_value('leasehold.job_job_id_seq'), 0) >> 12 & 2147483647)::integer
);
