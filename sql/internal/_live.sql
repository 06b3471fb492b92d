-- Every job that has not finished, whatever its position, in one shape. For reading only.
create or replace view leasehold._live as
select
  'scheduled'::text as state, scheduled.job_id, scheduled.queue_id, scheduled.priority,
  scheduled.attempt, scheduled.failures, scheduled.losses, scheduled.releases,
  scheduled.live_until, scheduled.run_at,
  null::uuid as worker_id, null::timestamptz as leased_at, null::timestamptz as heartbeat_at,
  null::timestamptz as expires_at, null::timestamptz as cancel_requested_at
from leasehold.scheduled as scheduled
union all
select
  'ready', ready.job_id, ready.queue_id, ready.priority,
  ready.attempt, ready.failures, ready.losses, ready.releases,
  ready.live_until, null, null, null, null, null, null
from leasehold.ready as ready
union all
select
  'blocked', blocked.job_id, blocked.queue_id, blocked.priority,
  blocked.attempt, blocked.failures, blocked.losses, blocked.releases,
  blocked.live_until, null, null, null, null, null, null
from leasehold.blocked as blocked
union all
select
  'leased', lease.job_id, lease.queue_id, lease.priority,
  lease.attempt, lease.failures, lease.losses, lease.releases,
  null, null,
  lease.worker_id, lease.leased_at, lease.heartbeat_at, lease.expires_at, lease.cancel_requested_at
from leasehold.lease as lease;

comment on view leasehold._live is 'Every job that has not finished, whatever its position, in one shape.';
