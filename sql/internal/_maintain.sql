-- Does a task of maintenance, if it is due and nobody else is at it, or in any case. Never fails, not even where it
-- is cancelled: what fails is undone, noted, and tried again later, less of it at a time; its jobs at
-- once, one by one, so that one of them does not keep all others.
create or replace function leasehold._maintain(
  p_task text,
  p_limit integer,
  p_span interval,
  p_always boolean,
  out done integer,
  out is_through boolean,
  out problem text,
  out is_cancelled boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
as $$
declare
  v_now timestamptz := leasehold._now();
  v_until timestamptz := v_now + p_span;
  v_every interval := case p_task
    when 'promote' then interval '0'
    when 'reap' then interval '500 milliseconds'
    when 'dedup' then interval '10 minutes'
    when 'mark' then interval '10 minutes'
    else interval '1 minute'
  end;
  v_upkeep leasehold.upkeep;
  v_job_id bigint;
begin
  done := 0;
  is_through := true;
  is_cancelled := false;
  begin
    select upkeep.* into v_upkeep
    from leasehold.upkeep as upkeep
    where upkeep.task = p_task;
    if not p_always and v_upkeep.due_at > v_now and v_upkeep.last_run_at <= v_now then
      return;
    end if;
    if not p_always and v_every > interval '0' then
      perform
      from leasehold.upkeep as upkeep
      where upkeep.task = p_task
        and (upkeep.due_at <= v_now or upkeep.last_run_at > v_now)
      for update skip locked;
      -- Who holds it may be a transaction that somebody forgot: it is not waited for for long.
      if not found and v_upkeep.due_at > v_now - interval '10 seconds' then
        return;
      end if;
    end if;

    select task.done, task.is_through into done, is_through
    from leasehold._perform(
      p_task, greatest(1, p_limit >> least(v_upkeep.failures, 20)), v_until, null
    ) as task;
  exception
    when query_canceled then
      problem := sqlerrm;
      is_cancelled := true;
    when lock_not_available or deadlock_detected then
      problem := sqlerrm;
    when others then
      problem := sqlerrm;
      begin
        foreach v_job_id in array leasehold._failing_jobs(p_task, 1000) loop
          begin
            done := done + (
              select task.done from leasehold._perform(p_task, 1, v_until, v_job_id) as task
            );
          exception
            when others then
              problem := format('job %s: %s', v_job_id, sqlerrm);
          end;
          exit when leasehold._now() >= v_now + interval '200 milliseconds';
        end loop;
      exception
        when query_canceled then
          done := 0;
          is_cancelled := true;
        when others then
          done := 0;
      end;
  end;

  if problem is not null then
    raise warning 'maintenance task "%" failed: %', p_task, problem;
  elsif v_every = interval '0' and v_upkeep.failures = 0 and v_upkeep.last_run_at <= v_now then
    return;
  end if;
  begin
    update leasehold.upkeep as upkeep
    set
      last_run_at = case when problem is null then v_now else least(upkeep.last_run_at, v_now) end,
      due_at = v_now + case
        when problem is not null then least(
          make_interval(secs => 2.0 ^ least(upkeep.failures, 20)), greatest(v_every, interval '5 seconds')
        )
        when is_through then v_every
        else interval '0'
      end,
      failures = case when problem is null then 0 else upkeep.failures + 1 end,
      error = left(problem, 16384)
    where upkeep.task = (
      select held.task
      from leasehold.upkeep as held
      where held.task = p_task
      for update skip locked
    );
  exception
    -- Then it is tried again sooner than it need be.
    when query_canceled or others then null;
  end;
end;
$$;
