-- The places to walk of a line as _line answers it: each open block that is below where a priority begins, and
-- from there on all.
create or replace function leasehold._places(p_line bigint[])
  returns table (priority smallint, job_id bigint, end_id bigint)
  language sql
  immutable
  parallel safe
begin atomic
  select (line.nth - 1)::smallint, line.job_id, 9223372036854775807
  from unnest(p_line) with ordinality as line (job_id, nth)
  where line.nth <= 10
  union all
  select (line.nth - 1)::smallint, open.block << 12, least(open.block + 1 << 12, line.job_id)
  from unnest(p_line) with ordinality as line (job_id, nth)
  join unnest(p_line) with ordinality as open (block, nth)
    on open.nth > 10
    and open.block << 12 < line.job_id
  where line.nth <= 10;
end;
