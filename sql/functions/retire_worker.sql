create or replace function leasehold.retire_worker(p_worker_id uuid)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '5s'
as $$
begin
  perform leasehold._require_read_committed();
  if p_worker_id is null then
    raise exception 'worker id must not be null' using errcode = 'invalid_parameter_value';
  end if;

  delete from leasehold.worker as worker
  where worker.worker_id = p_worker_id
    and not exists (
      select from leasehold.lease as lease where lease.worker_id = p_worker_id
    );
  return found;
end;
$$;

comment on function leasehold.retire_worker(uuid) is
$doc$Removes a worker process that stops, unless it still holds leases.

p_worker_id  the worker

Returns whether it was removed. Workers that vanish are removed by prune after a day.
Raises LH006 isolation_not_supported, LH007 read_only, 22023. Safe to repeat.$doc$;
