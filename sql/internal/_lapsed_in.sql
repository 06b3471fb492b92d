-- Whether a lease lapsed in a stretch without any worker because of it: most of its length was left when
-- the stretch began, as it is where its worker renews it in time.
create or replace function leasehold._lapsed_in(
  p_lease leasehold.lease,
  p_outage leasehold.outage
)
  returns boolean
  language sql
  immutable
return (p_lease).expires_at > (p_outage).started_at + (p_lease).duration / 2
  and (p_lease).expires_at <= (p_outage).ended_at;
