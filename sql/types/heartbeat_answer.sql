create type leasehold.heartbeat_answer as (
  job_id bigint,
  status text,
  remaining interval,
  cancel_requested boolean,
  cancel_reason text
);

comment on type leasehold.heartbeat_answer is
$doc$What a heartbeat found. status is
  ok       renewed
  revived  the lease had expired and is current again
  busy     another transaction holds the row just now; not renewed, ask again (heartbeat_many only)
  lost     another worker has the job, or it has ended (heartbeat_many only; heartbeat raises)
remaining is the span until the lease expires, null where there is none.
cancel_requested asks the worker to stop.$doc$;
