-- Whether an expired lease may be judged although its loss would make the job dead, which cannot be taken
-- back: its worker had one length to show its token, and a worker that could, another one say, was seen.
create or replace function leasehold._may_be_last(
  p_lease leasehold.lease,
  p_now timestamptz
)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_due timestamptz;
begin
  v_due := (p_lease).duration + greatest((p_lease).expires_at, leasehold._away_until(p_lease));
  return p_now >= v_due and (
    not exists (
      select from leasehold.worker as worker where worker.worker_id = (p_lease).worker_id
    )
    or exists (select from leasehold.worker as worker where worker.heartbeat_at >= v_due)
    or p_now >= v_due + interval '24 hours'
  );
end;
$$;
