create or replace function leasehold.register_worker(
  p_worker_id uuid,
  p_queues text[],
  p_concurrency integer default null,
  p_host text default null,
  p_pid integer default null,
  p_client_version text default null,
  p_secret uuid default null
)
  returns integer[]
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_now timestamptz;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_list('queues', p_queues);
  if p_worker_id is null then
    raise exception 'worker id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  perform leasehold._require_number('number of queues', cardinality(p_queues), 0, 10000);
  perform leasehold._require_number('concurrency', p_concurrency, 1, 100000);

  v_lock_timeout := leasehold._limit_waits();
  v_now := leasehold._now();
  insert into leasehold.worker as worker (
    worker_id, started_at, heartbeat_at, pid, concurrency, host, client_version, queues, secret
  )
  values (
    p_worker_id, v_now, v_now, p_pid, p_concurrency, left(p_host, 255), left(p_client_version, 255),
    p_queues, p_secret
  )
  on conflict (worker_id) do update
  set
    heartbeat_at = excluded.heartbeat_at, pid = excluded.pid, concurrency = excluded.concurrency,
    host = excluded.host, client_version = excluded.client_version, queues = excluded.queues
  where worker.secret is not distinct from excluded.secret;
  if not found then
    raise exception 'worker % is registered with another secret', p_worker_id
      using errcode = 'invalid_parameter_value';
  end if;

  if p_secret is not null then
    perform leasehold._excuse(p_worker_id);
  end if;
  perform set_config('lock_timeout', v_lock_timeout, true);

  return array(
    select queue.queue_id
    from unnest(p_queues) with ordinality as served (name, ordinality)
    left join leasehold.queue as queue
      on queue.name = served.name
      and queue.dropped_at is null
    order by served.ordinality
  );
end;
$$;

comment on function leasehold.register_worker(uuid, text[], integer, text, integer, text, uuid) is
$doc$Says that a worker process is there. Called again, that it is still alive: as often as it heartbeats.

p_worker_id       a new uuid at every boot, the one lease_jobs is called with
p_queues          the queues it has handlers for
p_concurrency     how many jobs it works on at once, 1 to 100000
p_host            where it runs
p_pid             its process id there
p_client_version  the client it uses
p_secret          a random uuid that the process keeps to itself, the same in every call; null: none

Returns the ids of the queues, in the order given, by which notifications name them ("ready:1"); null
for a queue that does not exist.
With a secret, losses are taken back that were charged for leases of this worker: they expired because it could
not reach the database, say, and not because it had vanished. Not more than ten times for one job.
A worker that never registers may lease all the same; people do not see it, and an outage of the
database counts as its loss. Register before leasing.
Waits up to 10 seconds for another transaction that registers the same worker, then raises 55P03.
Raises LH006 isolation_not_supported, LH007 read_only, 22023, also for a secret that is not the worker's.
Safe to repeat.$doc$;
