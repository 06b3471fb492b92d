-- The line in which a job comes back, by the mark of its queue as _claim_return answered it, if it did.
create or replace function leasehold._returned_line(
  p_mark leasehold.mark,
  p_priority smallint,
  p_job_id bigint
)
  returns bigint
  language sql
  immutable
  parallel safe
return case
  when p_job_id >= (p_mark).returned_ids[p_priority + 1] then (p_mark).returned_lines[p_priority + 1]
  else p_priority
end;
