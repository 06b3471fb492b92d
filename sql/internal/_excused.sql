-- Outage amnesty: the lease lapsed because the database was away, not because its worker vanished.
create or replace function leasehold._excused(p_lease leasehold.lease)
  returns boolean
  language sql
  stable
return (p_lease).heartbeat_at < pg_catalog.pg_postmaster_start_time()
  or exists (
    select
    from leasehold.outage as outage
    where leasehold._lapsed_in(p_lease, outage)
      and leasehold._seen_since((p_lease).worker_id, outage.ended_at)
  );
