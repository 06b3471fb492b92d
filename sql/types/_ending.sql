create type leasehold._ending as (
  held leasehold.lease,
  outcome text,
  error text,
  counted boolean,
  destination text,
  reason text,
  run_at timestamptz
);

comment on type leasehold._ending is
$doc$An attempt that did not end in success, as _end_attempts takes it: the lease as it was (counters
already raised), the attempt's outcome, and the destination ready, scheduled, dead or cancelled.$doc$;
