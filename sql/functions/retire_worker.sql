create or replace function leasehold.retire_worker(
  p_worker_id uuid,
  p_secret uuid default null
)
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
    and worker.secret is not distinct from p_secret
    and not exists (
      select from leasehold.lease as lease where lease.worker_id = p_worker_id
    );
  v_is_gone := found;
  perform set_config('lock_timeout', v_lock_timeout, true);
  if not v_is_gone and exists (
    select
    from leasehold.worker as worker
    where worker.worker_id = p_worker_id
      and worker.secret is distinct from p_secret
  ) then
    raise exception 'worker % is registered with another secret', p_worker_id
      using errcode = 'invalid_parameter_value';
  end if;
  return v_is_gone;
end;
$$;

comment on function leasehold.retire_worker(uuid, uuid) is
$doc$Removes a worker process that stops, unless it still holds leases.

p_worker_id  the worker
p_secret     the one it registered with; null: none

Returns whether it was removed. Workers that vanish are removed by prune after a day.
Waits up to 10 seconds for another transaction that registers it, then raises 55P03.
Raises LH006 isolation_not_supported, LH007 read_only, 22023, also for a secret that is not the worker's. Safe to repeat.$doc$;
