create type leasehold.settlement as (
  job_id bigint,
  status text,
  late boolean,
  retry_in interval
);

comment on type leasehold.settlement is
$doc$How an attempt ended. status is
  completed, failed, released, dead, cancelled  what this call did; failed: it will run again
  already_…                                     the same, done by an earlier call with this token
  busy                                          another transaction holds the row just now: nothing changed,
                                                ask again (_many calls only; single calls wait)
  lease_lost, job_not_found, job_cancelled, job_finished
                                                nothing changed (_many calls only; single calls raise)
late: the lease had expired, but nobody had leased the job since.
retry_in: span until the job is due again, for failed and released.$doc$;
