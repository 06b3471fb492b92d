-- Why a token settled nothing: the status of a repeated call, of a lease that is lost, or of a job
-- that has ended. A look that takes no lock: nobody waits for it, and it waits for nobody.
create or replace function leasehold._settled_status(
  p_job_id bigint,
  p_token uuid,
  p_completes boolean
)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_id integer;
  v_attempt leasehold.attempt;
  v_finished leasehold.finished;
begin
  perform leasehold._await_replication();

  select job.queue_id into v_queue_id
  from leasehold.job as job
  where job.job_id = p_job_id;

  if not found then
    return 'job_not_found';
  end if;

  select attempt.* into v_attempt
  from leasehold.attempt as attempt
  where attempt.job_id = p_job_id
    and attempt.token = p_token;

  select finished.* into v_finished
  from leasehold.finished as finished
  where finished.queue_id = v_queue_id
    and finished.job_id = p_job_id;

  return case
    when v_finished.token = p_token then case
      when v_finished.outcome = 'completed' or not p_completes then 'already_' || v_finished.outcome
      when v_finished.outcome = 'cancelled' then 'job_cancelled'
      else 'job_finished'
    end
    when v_attempt.outcome = 'failed' and not p_completes then 'already_failed'
    when v_attempt.outcome = 'released' and not p_completes then 'already_released'
    when v_attempt.outcome = 'dead_lettered' and not p_completes then 'already_dead'
    when v_attempt.attempt = v_finished.attempt then case v_finished.outcome
      when 'cancelled' then 'job_cancelled'
      else 'job_finished'
    end
    else 'lease_lost'
  end;
end;
$$;
