create table leasehold.request (
  request_id uuid primary key,
  requested_at timestamptz not null
) with (
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 10000
);

comment on table leasehold.request is
$doc$lease_jobs calls of the last minutes. A call that is repeated finds itself here and returns
the leases it made; one that runs twice at once waits here for its twin.$doc$;
