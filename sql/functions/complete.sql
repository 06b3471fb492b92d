create or replace function leasehold.complete(
  p_job_id bigint,
  p_token uuid,
  p_result jsonb default null
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
    from leasehold.complete_many(array[p_job_id], array[p_token], array[p_result]) as settlement;
    exit when v_settlement.status <> 'busy';
    perform leasehold._await_holder(p_job_id, p_token, 'update');
  end loop;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.complete(bigint, uuid, jsonb) is
$doc$Completes a job, in the caller's transaction.

p_job_id  the job
p_token   the token lease_jobs returned
p_result  what the handler returned, at most 1 MiB as text; null: nothing

Returns completed (late where the lease had expired and nobody had leased the job since), or
already_completed where this token completed it before.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat: the first result stays.$doc$;
