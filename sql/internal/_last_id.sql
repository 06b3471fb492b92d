-- The last job id that was given away, by whomever; 0 before the first.
create or replace function leasehold._last_id()
  returns bigint
  language sql
  volatile
return coalesce(pg_catalog.pg_sequence_last_value('leasehold.job_job_id_seq'), 0::bigint);
