-- Where to walk the line of a queue: its mark. Null if nothing is ready; of suspects only p_suspect counts, which
-- lease_jobs may lease. Walking to the first job takes microseconds, unless there was much that could not be
-- removed yet: then the mark moves up.
create or replace function leasehold._line(
  p_queue_id integer,
  p_suspect bigint default null
)
  returns leasehold.mark
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_mark leasehold.mark;
  v_moved leasehold.mark;
  v_are_anew boolean;
  v_started timestamptz;
  v_took interval;
  v_ready boolean;
begin
  select mark.* into v_mark
  from leasehold.mark as mark
  where mark.queue_id = p_queue_id;
  -- Without a mark, or if ids have begun anew, the line begins with the first job.
  v_are_anew := leasehold._last_id() < any (v_mark.job_ids);
  if v_are_anew is not false then
    v_mark.queue_id := p_queue_id;
    v_mark.job_ids := array_fill(0::bigint, array[10]);
    v_mark.open_blocks := '{}';
  end if;

  v_started := leasehold._now();
  v_ready := exists (
    select
    from unnest(v_mark.job_ids, v_mark.returned_lines, v_mark.returned_ids)
      with ordinality as line (job_id, returned_line, returned_id, nth)
    -- In the order of lease_jobs, so that what is slow there is slow here.
    cross join lateral (
      select
      from leasehold.ready as ready
      where ready.line = line.returned_line
        and ready.queue_id = p_queue_id
        and ready.job_id >= line.returned_id
        and ready.job_id < line.job_id
        and (not ready.suspect or ready.job_id = p_suspect)
      union all
      select
      from leasehold.ready as ready
      where ready.queue_id = p_queue_id
        and ready.priority = line.nth - 1
        and ready.job_id >= line.job_id
        and (not ready.suspect or ready.job_id = p_suspect)
    ) as ready
  ) or exists (
    select
    from leasehold.ready as ready
    where ready.line < 10
      and ready.queue_id = p_queue_id
      and (not ready.suspect or ready.job_id = p_suspect)
  );
  if not v_ready and v_mark.open_blocks <> '{}' then
    v_ready := exists (
      select
      from leasehold._places(v_mark.job_ids || v_mark.open_blocks) as place
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
  v_took := leasehold._now() - v_started;
  if (v_are_anew or v_took > random() * interval '2 milliseconds')
    and current_setting('transaction_isolation') = 'read committed'
  then
    perform leasehold._advance_mark(p_queue_id, v_took > interval '0.5 milliseconds');
    select mark.* into v_moved
    from leasehold.mark as mark
    where mark.queue_id = p_queue_id;
    if leasehold._last_id() >= all (v_moved.job_ids) then
      v_mark := v_moved;
    end if;
  end if;

  return case when v_ready then v_mark end;
end;
$$;
