-- Renews leases that have not expired, the ordinary case, with one write each, and answers for them in id
-- order; for none at all where a transaction holds one of them for longer than it is worth waiting.
create or replace function leasehold._renew(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_extend interval,
  out job_ids bigint[],
  out expiries timestamptz[],
  out cancels timestamptz[],
  out reasons text[]
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  set jit = off
  set enable_nestloop = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_indexscan = on
as $$
begin
  with renewed as (
    -- One walk of the key. "Is true" keeps the pairs a hash table that the planner cannot turn into a join.
    update leasehold.lease as lease
    set
      heartbeat_at = leasehold._now(),
      expires_at = leasehold._extended(lease, p_extend)
    where lease.job_id = any (p_job_ids)
      and (
        (lease.job_id, lease.token) in (
          select item.job_id, item.token from unnest(p_job_ids, p_tokens) as item (job_id, token)
        )
      ) is true
      and lease.expires_at > leasehold._now()
    returning lease.job_id, lease.expires_at, lease.cancel_requested_at, lease.cancel_reason
  )
  select
    array_agg(renewed.job_id), array_agg(renewed.expires_at),
    array_agg(renewed.cancel_requested_at), array_agg(renewed.cancel_reason)
  into job_ids, expiries, cancels, reasons
  from renewed;
exception
  when lock_not_available then
    job_ids := null;
end;
$$;
