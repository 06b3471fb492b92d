create or replace function leasehold.retire_worker(p_worker_id uuid)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_is_gone boolean;
begin
  perform leasehold._require_read_committed();
  if p_worker_id is null then
    raise exception 'worker id must not be null' using errcode = 'invalid_parameter_value';
  end if;

  v_lock_timeout := leasehold._limit_waits();
  delete from leasehold.worker as worker
  where worker.worker_id = p_worker_id
    and not exists (
      select from leasehold.lease as lease where lease.worker_id = p_worker_id
    );
  v_is_gone := found;
  perform set_config('lock_timeout', v_lock_timeout, true);
  return v_is_gone;
end;
$$;

comment on function leasehold.retire_worker(uuid) is
$doc$Removes a worker process that stops, unless it still holds leases.

p_worker_id  the worker

Returns whether it was removed. Workers that vanish are removed by prune after a day.
Waits up to 10 seconds for another transaction that registers it, then raises 55P03.
Raises LH006 isolation_not_supported, LH007 read_only, 22023. Safe to repeat.$doc$;
