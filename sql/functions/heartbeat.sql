create or replace function leasehold.heartbeat(
  p_job_id bigint,
  p_token uuid,
  p_extend interval default null,
  p_checkpoint jsonb default null
)
  returns leasehold.heartbeat_answer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_called_at timestamptz := leasehold._now();
  v_answer leasehold.heartbeat_answer;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(array[p_job_id], array[p_token], 1);
  p_extend := leasehold._require_span('extension', p_extend, interval '1 second', interval '1 day');
  perform leasehold._require_documents('checkpoint', array[p_checkpoint]);

  loop
    -- The row is locked before the clock is read, so a wait does not eat into the extension. Who called in
    -- time is not late, however long the row was waited for.
    select
      lease.job_id,
      case when lease.expires_at <= v_called_at then 'revived' else 'ok' end,
      null::interval, lease.cancel_requested_at is not null, lease.cancel_reason
    into v_answer
    from leasehold.lease as lease
    where lease.job_id = p_job_id
      and lease.token = p_token
    for no key update skip locked;
    exit when found;

    if not leasehold._revive(array[p_job_id], array[p_token]) then
      if not leasehold._is_current(p_job_id, p_token) then
        perform leasehold._raise_lost(p_job_id, leasehold._settled_status(p_job_id, p_token, true));
      end if;
      perform leasehold._await_holder(p_job_id, p_token, 'no key update');
    end if;
  end loop;

  update leasehold.lease as lease
  set
    heartbeat_at = leasehold._now(),
    expires_at = leasehold._extended(lease, p_extend)
  where lease.job_id = p_job_id
  returning lease.expires_at - leasehold._now() into v_answer.remaining;

  if p_checkpoint is not null then
    perform leasehold._save_checkpoints(array[p_job_id], array[p_checkpoint]);
  end if;
  return v_answer;
end;
$$;

comment on function leasehold.heartbeat(bigint, uuid, interval, jsonb) is
$doc$Renews the caller's lease on a job, and learns whether somebody asks for a cancel.

p_job_id      the job to keep
p_token       the token lease_jobs returned
p_extend      new length counted from now, 1 second to 1 day; null: the length asked for at lease time
p_checkpoint  what the next attempt is to resume from, at most 1 MiB as text; null: leave the last one

Returns ok, or revived if the lease had expired before the call and nobody had leased the job since; the span
that remains; and whether to stop. A lease is never shortened. Past the longest runtime it is renewed for one
more lease length and no further.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease row; waits up to 10 seconds for another transaction that holds it, then raises 55P03. Safe to
repeat.$doc$;
