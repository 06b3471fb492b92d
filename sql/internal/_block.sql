-- The block of 4096 job ids that an id is in, as transactions claim them.
create or replace function leasehold._block(p_job_id bigint)
  returns bigint
  language sql
  immutable
  parallel safe
return p_job_id >> 12;
