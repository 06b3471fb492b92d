create or replace function leasehold.dead_letter(
  p_job_id bigint,
  p_token uuid,
  p_reason text default null
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
    from leasehold.dead_letter_many(
      array[p_job_id], array[p_token], array[left(p_reason, 16384)]
    ) as settlement;
    exit when v_settlement.status <> 'busy';
    perform leasehold._await_holder(p_job_id, p_token, 'update');
  end loop;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.dead_letter(bigint, uuid, text) is
$doc$Gives a job up: it is dead, and kept for a person to look at. Spends no budget.

p_job_id  the job
p_token   the token lease_jobs returned
p_reason  why, any text; cut to 16384 characters

Returns dead, or already_… where this token settled the job before. Retires the token.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat. redrive takes the job back.$doc$;
