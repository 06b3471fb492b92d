-- Whether a lease expired in a stretch because of it: most of its length was left when the stretch began,
-- as it is where its worker renews it in time.
create or replace function leasehold._lapsed_in(
  p_lease leasehold.lease,
  p_started_at timestamptz,
  p_ended_at timestamptz
)
  returns boolean
  language sql
  immutable
return (p_lease).expires_at > p_started_at + (p_lease).duration / 2
  and (p_lease).expires_at <= p_ended_at;
