create or replace function leasehold.fail(
  p_job_id bigint,
  p_token uuid,
  p_error text default null,
  p_retry_in interval default null,
  p_retryable boolean default true
)
  returns leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_settlement leasehold.settlement;
begin
  loop
    select settlement.* into v_settlement
    from leasehold.fail_many(
      array[p_job_id], array[p_token], array[left(p_error, 16384)], array[p_retry_in],
      array[p_retryable]
    ) as settlement;
    exit when v_settlement.status <> 'busy';
    perform leasehold._await_holder(p_job_id, p_token, 'update');
  end loop;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.fail(bigint, uuid, text, interval, boolean) is
$doc$Says that the handler failed. Spends one of the job's failures.

p_job_id     the job
p_token      the token lease_jobs returned
p_error      what went wrong, any text; cut to 16384 characters
p_retry_in   delay before the next attempt, 0 to 3660 days; null: the queue's backoff
p_retryable  false: do not try again

Returns failed (it will run again, after retry_in), dead (budget spent, or not retryable), cancelled (a cancel
had been asked for), or already_… where this token settled the job before. Retires the token.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat.$doc$;
