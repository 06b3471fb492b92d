-- The first job of each priority in the lines of those that came back; null if there is none.
create or replace function leasehold._returned_first(
  p_queue_id integer,
  p_lines bigint[],
  p_ids bigint[]
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select first.job_id
    from unnest(p_lines, p_ids) with ordinality as line (returned_line, returned_id, nth)
    left join lateral (
      select ready.job_id
      from leasehold.ready as ready
      where ready.line = line.returned_line
        and ready.queue_id = p_queue_id
        and ready.job_id >= line.returned_id
      order by ready.job_id
      limit 1
    ) as first on true
    order by line.nth
  );
end;
$$;
