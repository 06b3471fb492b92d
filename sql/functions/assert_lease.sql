create or replace function leasehold.assert_lease(
  p_job_id bigint,
  p_token uuid
)
  returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(array[p_job_id], array[p_token], 1);

  loop
    -- The weakest lock that keeps the row from being taken away: heartbeats, which change no key,
    -- pass; reap_expired and every settlement but the caller's own do not.
    perform
    from leasehold.lease as lease
    where lease.job_id = p_job_id
      and lease.token = p_token
    for key share skip locked;
    exit when found;

    if not leasehold._revive(array[p_job_id], array[p_token]) then
      if not leasehold._is_current(p_job_id, p_token) then
        perform leasehold._raise_lost(p_job_id, leasehold._settled_status(p_job_id, p_token, true));
      end if;
      perform leasehold._await_holder(p_job_id, p_token, 'key share');
    end if;
  end loop;
  return true;
end;
$$;

comment on function leasehold.assert_lease(bigint, uuid) is
$doc$Makes sure that the caller holds the job, until the caller's transaction ends.

p_job_id  the job
p_token   the token lease_jobs returned

Call it in the transaction that writes the job's effects: they commit only if the lease is still the
caller's, and nobody can lease the job in between. Heartbeats go on meanwhile. Returns true, or raises.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Holds a key share lock on the lease row until commit; waits up to 10 seconds for another transaction that
holds the row, then raises 55P03. Safe to repeat.$doc$;
