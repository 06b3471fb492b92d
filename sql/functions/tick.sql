create or replace function leasehold.tick()
  returns leasehold.tick_answer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_answer leasehold.tick_answer;
  v_name text;
  v_task record;
  v_is_through boolean := true;
begin
  perform leasehold._require_read_committed();

  v_answer.failed := '{}';
  foreach v_name in array array['promote', 'reap', 'finished', 'dropped', 'dedup', 'request', 'worker', 'tally', 'mark'] loop
    select task.* into v_task
    from leasehold._maintain(
      v_name,
      case when v_name in ('promote', 'reap', 'dropped') then 1000 else 100000 end,
      interval '50 milliseconds',
      false
    ) as task;
    case v_name
      when 'promote' then v_answer.promoted := v_task.done;
      when 'reap' then v_answer.reaped := v_task.done;
      when 'finished' then v_answer.pruned := v_task.done;
      else null;
    end case;
    v_is_through := v_is_through and v_task.is_through;
    if v_task.problem is not null then
      v_answer.failed := v_answer.failed || v_name;
    end if;
    -- The time of this statement is up: what is done is kept.
    exit when v_task.is_cancelled;
  end loop;

  v_answer.next_due_in := case when v_is_through then (
    select greatest(scheduled.run_at - leasehold._now(), interval '0')
    from leasehold.scheduled as scheduled
    order by scheduled.run_at
    limit 1
  ) else interval '0' end;
  select count(*)::integer into v_answer.workers
  from leasehold.worker as worker
  where worker.heartbeat_at > leasehold._now() - interval '1 minute';
  return v_answer;
end;
$$;

comment on function leasehold.tick() is
$doc$One round of maintenance: promotes what is due, reaps at most twice a second, prunes once a minute, however
many processes call it. Call it about once a second, from any process or pg_cron; again at once
if next_due_in is zero.

Each task fails alone: what it did is undone, all else is kept, also if the statement is cancelled or its time is
up. A task that failed is named in the answer, its error is a warning and stands in table upkeep, and it is
tried again after 1, 2, 4 … seconds. A job that makes a task fail does not keep the other jobs.
No task waits longer than 100 ms for a lock, and none of prune works longer than about 50 ms.
Returns what it did, the span until there is more to do, and how many workers there are to call it.
Raises LH006 isolation_not_supported, LH007 read_only. Several at once do no harm; there is no leader.$doc$;
