create or replace function leasehold.release(
  p_job_id bigint,
  p_token uuid,
  p_delay interval default interval '0'
)
  returns leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_settlement leasehold.settlement;
begin
  if p_delay is null then
    raise exception 'delay must not be null' using errcode = 'invalid_parameter_value';
  end if;
  loop
    select settlement.* into v_settlement
    from leasehold.release_many(array[p_job_id], array[p_token], array[p_delay]) as settlement;
    exit when v_settlement.status <> 'busy';
    perform leasehold._await_holder(p_job_id, p_token, 'update');
  end loop;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.release(bigint, uuid, interval) is
$doc$Hands a job back, free of charge: neither a failure nor a loss. It keeps its place in line.

p_job_id  the job
p_token   the token lease_jobs returned
p_delay   how long it is to wait before it may run again, 0 to 3660 days

Returns released, cancelled (a cancel had been asked for), or already_… where this token settled the job
before. Retires the token. More than fifty times in a row within a minute of the lease, it waits as release_many says.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat.$doc$;
