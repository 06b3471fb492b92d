-- Removes finished jobs whose retention has passed, the longest past first, up to a limit or until an instant.
-- Answers how many, and whether it came to the end of them.
create or replace function leasehold._prune_finished(
  p_limit integer,
  p_until timestamptz,
  out pruned integer,
  out is_through boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
as $$
declare
  v_now timestamptz := leasehold._now();
  v_done_until timestamptz;
  v_from timestamptz;
  v_limit integer;
  v_last timestamptz;
  v_job_ids bigint[];
  v_gone integer;
begin
  -- Every few minutes from the very first: a transaction may have outlasted the retention of a job that it completed.
  select
    case
      when upkeep.done_until <= v_now
        and upkeep.last_run_at >= v_now - random() * interval '5 minutes'
      then upkeep.done_until
      else '-infinity'
    end
  into v_done_until
  from leasehold.upkeep as upkeep
  where upkeep.task = 'finished';
  v_from := v_done_until;
  pruned := 0;

  loop
    v_limit := least(1000, p_limit - pruned);
    select array_agg(past.job_id), max(past.keep_until) into v_job_ids, v_last
    from (
      select finished.job_id, finished.keep_until
      from leasehold.finished as finished
      where finished.keep_until between v_from and v_now
      order by finished.keep_until
      limit v_limit
    ) as past;
    is_through := coalesce(cardinality(v_job_ids), 0) < v_limit;
    v_gone := leasehold._prune_jobs(v_job_ids, v_now);
    pruned := pruned + v_gone;

    exit when is_through or pruned >= p_limit or leasehold._now() >= p_until;
    -- Rows of one instant that are all held must not keep the others.
    v_from := v_last + case when v_gone = 0 and v_last = v_from then interval '1 microsecond' else '0' end;
  end loop;

  -- What vacuum may not remove yet is not walked past again.
  v_done_until := least(v_now, (
    select finished.keep_until
    from leasehold.finished as finished
    where finished.keep_until >= v_done_until
    order by finished.keep_until
    limit 1
  ));
  update leasehold.upkeep as upkeep
  set done_until = v_done_until
  where upkeep.task = (
    select held.task
    from leasehold.upkeep as held
    where held.task = 'finished'
      and held.done_until <> v_done_until
    for update skip locked
  );
end;
$$;
