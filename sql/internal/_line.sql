-- Where the line of each priority of a queue begins; null where nothing is ready. Walking to the first job
-- takes microseconds, unless there was much that could not be removed yet: then the mark moves up.
create or replace function leasehold._line(p_queue_id integer)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_mark bigint[];
  v_started timestamptz;
  v_ready boolean;
begin
  select mark.job_ids into v_mark
  from leasehold.mark as mark
  where mark.queue_id = p_queue_id;
  v_mark := coalesce(v_mark, array_fill(0::bigint, array[10]));

  v_started := leasehold._now();
  v_ready := exists (
    select
    from unnest(v_mark) with ordinality as line (job_id, nth)
    cross join lateral (
      select
      from leasehold.ready as ready
      where ready.queue_id = p_queue_id
        and ready.priority = line.nth - 1
        and ready.job_id >= line.job_id
      union all
      select
      from leasehold.ready as ready
      where ready.returned
        and ready.queue_id = p_queue_id
        and ready.priority = line.nth - 1
        and ready.job_id < line.job_id
    ) as ready
  );
  -- Moving it costs about a millisecond: the slower the look, the likelier it is worth that. Only where
  -- every statement sees what was committed before it: an old snapshot would take jobs for gone.
  if leasehold._now() - v_started > random() * interval '2 milliseconds'
    and current_setting('transaction_isolation') = 'read committed'
  then
    v_mark := leasehold._advance_mark(p_queue_id, v_mark);
  end if;

  return case when v_ready then v_mark end;
end;
$$;
