create type leasehold.leased_job as (
  job_id bigint,
  queue text,
  priority smallint,
  payload jsonb,
  headers jsonb,
  token uuid,
  fence bigint,
  attempt integer,
  failures integer,
  losses integer,
  releases integer,
  checkpoint jsonb,
  lease_duration interval,
  remaining interval,
  max_runtime interval,
  enqueued_at timestamptz,
  expires_at timestamptz
);

comment on type leasehold.leased_job is
$doc$A job as its worker gets it. token proves the lease; fence is for other stores to compare;
attempt counts leases, this one included; checkpoint is what an earlier attempt saved, or null;
remaining is the span until expires_at, for workers that do not trust their clock.$doc$;
