-- Where to walk the line of a queue: where each priority begins, from 0 to 9, and after those the blocks of ids
-- below that hold jobs all the same. Null if nothing is ready; of suspects only p_suspect counts, which lease_jobs
-- may lease. Walking to the first job takes microseconds, unless there was much that could not be removed
-- yet: then the mark moves up.
create or replace function leasehold._line(
  p_queue_id integer,
  p_suspect bigint default null
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_mark bigint[];
  v_open bigint[];
  v_moved record;
  v_are_anew boolean;
  v_started timestamptz;
  v_ready boolean;
begin
  select mark.job_ids, mark.open_blocks into v_mark, v_open
  from leasehold.mark as mark
  where mark.queue_id = p_queue_id;
  -- Without a mark, or if ids have begun anew, the line begins with the first job.
  v_are_anew := leasehold._last_id() < any (v_mark);
  if v_are_anew is not false then
    v_mark := array_fill(0::bigint, array[10]);
    v_open := '{}';
  end if;

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
        and (not ready.suspect or ready.job_id = p_suspect)
      union all
      select
      from leasehold.ready as ready
      where ready.returned
        and ready.queue_id = p_queue_id
        and ready.priority = line.nth - 1
        and ready.job_id < line.job_id
        and (not ready.suspect or ready.job_id = p_suspect)
    ) as ready
  );
  if not v_ready and v_open <> '{}' then
    v_ready := exists (
      select
      from leasehold._places(v_mark || v_open) as place
      cross join lateral (
        select
        from leasehold.ready as ready
        where ready.queue_id = p_queue_id
          and ready.priority = place.priority
          and ready.job_id >= place.job_id
          and ready.job_id < place.end_id
          and (not ready.suspect or ready.job_id = p_suspect)
        limit 1
      ) as ready
    );
  end if;
  -- Moving it costs about a millisecond: the slower the look, the likelier it is worth that. Only where
  -- every statement sees what was committed before it: an old snapshot would take jobs for gone.
  if (v_are_anew or leasehold._now() - v_started > random() * interval '2 milliseconds')
    and current_setting('transaction_isolation') = 'read committed'
  then
    perform leasehold._advance_mark(p_queue_id);
    select mark.job_ids, mark.open_blocks into v_moved
    from leasehold.mark as mark
    where mark.queue_id = p_queue_id;
    if leasehold._last_id() >= all (v_moved.job_ids) then
      v_mark := v_moved.job_ids;
      v_open := v_moved.open_blocks;
    end if;
  end if;

  return case when v_ready then v_mark || v_open end;
end;
$$;
