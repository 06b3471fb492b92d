-- Where a heartbeat moves the expiry to: never back, and never beyond one lease length after the
-- longest runtime, so that a worker that cannot stop its handler loses the job in the end.
create or replace function leasehold._extended(
  p_lease leasehold.lease,
  p_extend interval
)
  returns timestamptz
  language sql
  volatile
return greatest(
  (p_lease).expires_at,
  least(
    leasehold._now() + coalesce(p_extend, (p_lease).duration),
    (p_lease).runs_until + (p_lease).duration
  )
);
