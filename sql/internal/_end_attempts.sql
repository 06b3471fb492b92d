-- Attempts that did not end in success, their lease already taken: one history row each, then the
-- job goes to its destination. Counters are raised here and nowhere else.
create or replace function leasehold._end_attempts(p_endings leasehold._ending[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := leasehold._now();
begin
  insert into leasehold.attempt (
    job_id, fence, leased_at, heartbeat_at, expires_at, ended_at, runs_until, token, worker_id,
    duration, attempt, counted, excused, outcome, error
  )
  select
    (held).job_id, (held).fence, (held).leased_at, (held).heartbeat_at, (held).expires_at, v_now,
    (held).runs_until, (held).token, (held).worker_id, (held).duration, (held).attempt,
    counted,
    outcome = 'expired' and not counted and leasehold._survived(
      (held).worker_id, (held).leased_at, (held).expires_at, (held).job_id
    ),
    outcome, left(error, 16384)
  from unnest(p_endings);

  -- Only a lease that was reaped leaves its token behind to be honoured; every other ending retires it.
  insert into leasehold.ready (
    job_id, token, queue_id, attempt, releases, failures, losses, priority, suspect
  )
  select
    (held).job_id, case when outcome in ('expired', 'overran') then (held).token end,
    (held).queue_id, (held).attempt,
    (held).releases + (outcome = 'released')::integer,
    (held).failures + (outcome in ('failed', 'overran') and counted)::integer,
    (held).losses + (outcome = 'expired' and counted)::integer,
    (held).priority,
    (held).suspect or outcome = 'expired' and leasehold._lapses((held).job_id) > 1
  from unnest(p_endings)
  where destination = 'ready';

  insert into leasehold.scheduled (
    job_id, run_at, queue_id, attempt, releases, failures, losses, priority, suspect
  )
  select
    (held).job_id, run_at, (held).queue_id, (held).attempt,
    (held).releases + (outcome = 'released')::integer,
    (held).failures + (outcome = 'failed' and counted)::integer,
    (held).losses + (outcome = 'expired' and counted)::integer,
    (held).priority,
    (held).suspect
  from unnest(p_endings)
  where destination = 'scheduled';

  perform leasehold._finish(array(
    select row(
      (held).job_id, v_now, null, (held).leased_at, null,
      case when outcome not in ('expired', 'overran') then (held).token end,
      (held).worker_id, (held).queue_id, (held).attempt,
      (held).releases + (outcome = 'released')::integer,
      (held).failures + (outcome in ('failed', 'overran') and counted)::integer,
      (held).losses + (outcome = 'expired' and counted)::integer,
      (held).priority, false, destination, left(reason, 16384), null
    )::leasehold.finished
    from unnest(p_endings)
    where destination in ('dead', 'cancelled')
  ));
end;
$$;
