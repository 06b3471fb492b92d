create or replace function leasehold._seen_since(
  p_worker_id uuid,
  p_instant timestamptz
)
  returns boolean
  language sql
  stable
return exists (
  select
  from leasehold.worker as worker
  where worker.worker_id = p_worker_id
    and worker.heartbeat_at >= p_instant
);
