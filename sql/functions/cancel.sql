create or replace function leasehold.cancel(
  p_job_id bigint,
  p_reason text default null
)
  returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_worker_id uuid;
  v_outcome text;
begin
  perform leasehold._require_read_committed();
  if p_job_id is null then
    raise exception 'job id must not be null' using errcode = 'invalid_parameter_value';
  end if;

  -- A job may move while it is looked for; it is never in two places, so another look finds it.
  for v_look in 1..100 loop
    update leasehold.lease as lease
    set
      cancel_requested_at = coalesce(lease.cancel_requested_at, leasehold._now()),
      cancel_reason = coalesce(lease.cancel_reason, left(p_reason, 16384), 'cancelled')
    where lease.job_id = (
      select held.job_id
      from leasehold.lease as held
      where held.job_id = p_job_id
      for no key update skip locked
    )
    returning lease.worker_id into v_worker_id;
    if found then
      perform leasehold._notify('cancel:' || v_worker_id);
      return 'requested';
    end if;

    if leasehold._withdraw(array[p_job_id], 'cancelled', coalesce(p_reason, 'cancelled')) <> '{}' then
      return 'cancelled';
    end if;

    select finished.outcome into v_outcome
    from leasehold.job as job
    join leasehold.finished as finished
      on finished.queue_id = job.queue_id
      and finished.job_id = job.job_id
    where job.job_id = p_job_id;
    if v_outcome = 'cancelled' then
      perform leasehold._await_replication();
      return 'already_cancelled';
    elsif v_outcome is not null then
      perform leasehold._raise_lost(p_job_id, 'job_finished');
    end if;

    perform from leasehold.job as job where job.job_id = p_job_id;
    if not found then
      perform leasehold._raise_lost(p_job_id, 'job_not_found');
    end if;

    perform leasehold._await_holder(p_job_id, null, 'no key update');
  end loop;

  raise exception 'job % keeps moving', p_job_id
    using errcode = 'serialization_failure', hint = 'Cancel it again.';
end;
$$;

comment on function leasehold.cancel(bigint, text) is
$doc$Cancels a job: at once if nobody works on it, else its holder is asked to stop.

p_job_id  the job
p_reason  why, any text; cut to 16384 characters

Returns cancelled, requested (the holder learns with its next heartbeat; a job that completes first is
completed), or already_cancelled.
Raises LH002 job_not_found, LH004 job_finished, LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the job's row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat.$doc$;
