-- Stores what came with a heartbeat, for leases that were found current in the same transaction.
create or replace function leasehold._save_checkpoints(
  p_job_ids bigint[],
  p_checkpoints jsonb[]
)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  -- heartbeat_many switches this off; here it is a probe of lease a row.
  set enable_nestloop = on
as $$
  insert into leasehold.checkpoint as checkpoint (job_id, saved_at, attempt, data)
  select lease.job_id, leasehold._now(), lease.attempt, item.data
  from unnest(p_job_ids, p_checkpoints) as item (job_id, data)
  join leasehold.lease as lease on lease.job_id = item.job_id
  where item.data is not null
  order by lease.job_id
  on conflict (job_id) do update
  set saved_at = excluded.saved_at, attempt = excluded.attempt, data = excluded.data
$$;
