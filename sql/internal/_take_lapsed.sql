-- Takes expired leases off their holders. Where no worker has been seen for a whole lease length the
-- database may have been away: leases that lapsed then wait one more length for their workers.
create or replace function leasehold._take_lapsed(
  p_now timestamptz,
  p_limit integer,
  p_job_id bigint default null
)
  returns setof leasehold.lease
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_last_seen timestamptz;
begin
  select max(worker.heartbeat_at) into v_last_seen from leasehold.worker as worker;

  return query
  delete from leasehold.lease as lease
  where lease.job_id = any (array(
    select lease.job_id
    from leasehold.lease as lease
    where lease.expires_at <= p_now
      and (p_job_id is null or lease.job_id = p_job_id)
      and (
        v_last_seen is null
        or v_last_seen > p_now - lease.duration
        or p_now >= lease.expires_at + lease.duration
      )
      and not exists (
        select
        from leasehold.outage as outage
        where leasehold._lapsed_in(lease, outage)
          and p_now < outage.ended_at + lease.duration
          and not leasehold._seen_since(lease.worker_id, outage.ended_at)
      )
    limit p_limit
    for update skip locked
  ))
  returning lease.*;
end;
$$;
