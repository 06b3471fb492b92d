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
  v_reason text := left(p_reason, 16384);
  v_endings leasehold._ending[];
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(array[p_job_id], array[p_token], 1);

  select array_agg(row(
    held, 'dead_lettered', v_reason, false, 'dead', coalesce(v_reason, 'dead_lettered'), null
  )::leasehold._ending)
  into v_endings
  from leasehold._take(array[p_job_id], array[p_token]) as held;

  return leasehold._settled(settlement)
  from leasehold._answer_endings(array[p_job_id], array[p_token], v_endings) as settlement;
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
Locks the lease row. Safe to repeat. redrive takes the job back.$doc$;
