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
  v_endings leasehold._ending[];
  v_settlement leasehold.settlement;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(array[p_job_id], array[p_token], 1);
  if p_delay is null then
    raise exception 'delay must not be null' using errcode = 'invalid_parameter_value';
  end if;
  perform leasehold._require_span('delay', p_delay, interval '0', interval '10 years');

  select array_agg(row(
    held,
    case when held.cancel_requested_at is null then 'released' else 'cancelled' end,
    null,
    false,
    case
      when held.cancel_requested_at is not null then 'cancelled'
      when p_delay > interval '0' then 'scheduled'
      else 'ready'
    end,
    held.cancel_reason,
    leasehold._now() + p_delay
  )::leasehold._ending)
  into v_endings
  from leasehold._take(array[p_job_id], array[p_token]) as held;

  select settlement.* into v_settlement
  from leasehold._answer_endings(array[p_job_id], array[p_token], v_endings) as settlement;

  if v_settlement.status = 'released' and p_delay = interval '0' then
    perform leasehold._wake(((v_endings[1]).held).queue_id);
  end if;
  return leasehold._settled(v_settlement);
end;
$$;

comment on function leasehold.release(bigint, uuid, interval) is
$doc$Hands a job back, free of charge: neither a failure nor a loss. It keeps its place in line.

p_job_id  the job
p_token   the token lease_jobs returned
p_delay   how long it is to wait before it may run again, 0 to 10 years

Returns released, cancelled (a cancel had been asked for), or already_… where this token settled the job
before. Retires the token.
Raises LH001 lease_lost, LH002 job_not_found, LH003 job_cancelled, LH004 job_finished, LH006
isolation_not_supported, LH007 read_only, 22023.
Locks the lease row. Safe to repeat.$doc$;
