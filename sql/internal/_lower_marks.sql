-- Moves marks back that have passed jobs which nobody looks for: a mark is a hint, and what keeps it right are
-- ids that grow, and locks that anybody may take. A mark that moves just now is passed over. Answers how many it moved.
create or replace function leasehold._lower_marks()
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_moved integer;
begin
  with held as (
    select mark.queue_id, mark.job_ids, mark.open_blocks
    from leasehold.mark as mark
    where 0 < any (mark.job_ids)
    for update skip locked
  ), looked as (
    select
      held.queue_id,
      array_agg(least(line.job_id, passed.job_id) order by line.nth) as job_ids
    from held
    cross join lateral unnest(held.job_ids) with ordinality as line (job_id, nth)
    left join lateral (
      select ready.job_id
      from leasehold.ready as ready
      where not ready.returned
        and ready.queue_id = held.queue_id
        and ready.priority = line.nth - 1
        and ready.job_id < line.job_id
        and leasehold._block(ready.job_id) <> all (held.open_blocks)
      order by ready.job_id
      limit 1
    ) as passed on true
    group by held.queue_id
  )
  update leasehold.mark as mark
  set job_ids = looked.job_ids
  from looked
  where mark.queue_id = looked.queue_id
    and mark.job_ids <> looked.job_ids;
  get diagnostics v_moved = row_count;
  return v_moved;
end;
$$;
