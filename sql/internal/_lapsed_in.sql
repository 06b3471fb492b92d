-- Whether a lease lapsed in a stretch without any worker, long enough to have lapsed because of it.
create or replace function leasehold._lapsed_in(
  p_lease leasehold.lease,
  p_outage leasehold.outage
)
  returns boolean
  language sql
  immutable
return (p_lease).expires_at > (p_outage).started_at
  and (p_lease).expires_at <= (p_outage).ended_at
  and (p_outage).ended_at - (p_outage).started_at >= (p_lease).duration;
