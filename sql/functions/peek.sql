create or replace function leasehold.peek(
  p_queue text,
  p_state text default 'ready',
  p_limit integer default 20,
  p_after bigint default null
)
  returns setof leasehold.job_info
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
  v_after bigint := coalesce(p_after, 0);
  v_after_priority smallint := (-1)::smallint;
begin
  perform leasehold._require_limit(p_limit, 1000);
  if (p_state in (
    'scheduled', 'ready', 'blocked', 'leased', 'completed', 'dead', 'cancelled'
  )) is not true then
    raise exception 'unknown state "%"', left(p_state, 255)
      using errcode = 'invalid_parameter_value',
        hint = 'States are scheduled, ready, blocked, leased, completed, dead and cancelled.';
  end if;
  v_queue := leasehold._queue(p_queue);

  if p_after is not null then
    select job.priority into v_after_priority from leasehold.job as job where job.job_id = p_after;
    if not found then
      perform leasehold._raise_lost(p_after, 'job_not_found');
    end if;
  end if;

  -- Of the branches one runs; each walks an index and stops at the limit.
  return query
  select info.*
  from leasehold._job_infos(array(
    (
      select ready.job_id
      from leasehold.ready as ready
      where p_state = 'ready'
        and ready.queue_id = v_queue.queue_id
        and (ready.priority, ready.job_id) > (v_after_priority, v_after)
      order by ready.priority, ready.job_id
      limit p_limit
    )
    union all (
      select scheduled.job_id
      from leasehold.scheduled as scheduled
      where p_state = 'scheduled'
        and scheduled.queue_id = v_queue.queue_id
        and scheduled.job_id > v_after
      order by scheduled.job_id
      limit p_limit
    )
    union all (
      select blocked.job_id
      from leasehold.blocked as blocked
      where p_state = 'blocked'
        and blocked.queue_id = v_queue.queue_id
        and blocked.job_id > v_after
      order by blocked.job_id
      limit p_limit
    )
    union all (
      select lease.job_id
      from leasehold.lease as lease
      where p_state = 'leased'
        and lease.queue_id = v_queue.queue_id
        and lease.job_id > v_after
      order by lease.job_id
      limit p_limit
    )
    union all (
      select finished.job_id
      from leasehold.finished as finished
      where finished.outcome = p_state
        and finished.queue_id = v_queue.queue_id
        and finished.job_id > v_after
      order by finished.job_id
      limit p_limit
    )
  ), 10, null, 1000) as info;
end;
$$;

comment on function leasehold.peek(text, text, integer, bigint) is
$doc$A page of a queue's jobs in one state, without touching them.

p_queue  the queue
p_state  scheduled, ready, blocked, leased, completed, dead or cancelled
p_limit  most jobs to show, 1 to 1000
p_after  the last job of the page before; null: from the beginning

Ready jobs come in the order in which they will run, all others by job id. Of their history, peek shows the newest ten
entries, with errors cut to 1000 characters; job shows more. Never shows a token.
Raises LH002 job_not_found, LH005 queue_not_found, 22023.$doc$;
