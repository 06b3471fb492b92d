create or replace function leasehold.lease_jobs(
  p_queues text[],
  p_worker_id uuid,
  p_limit integer default 1,
  p_lease interval default null,
  p_request_id uuid default null
)
  returns setof leasehold.leased_job
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  set enable_seqscan = off
  set enable_nestloop = off
  set enable_mergejoin = off
  set enable_bitmapscan = off
as $$
declare
  v_lock_timeout text;
  c_endless constant bigint := 9223372036854775807;
  c_priorities constant smallint[] := array[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]::smallint[];
  v_queues leasehold.queue[];
  v_queue leasehold.queue;
  v_now timestamptz;
  v_duration interval;
  v_epoch bigint;
  v_seed bytea;
  v_line bigint[];
  v_priorities smallint[];
  v_ends bigint[];
  v_remembered boolean := false;
  -- Of many jobs, those that others have touched are passed over without asking for their locks. So are
  -- those of a lease that was rolled back: one call of eight looks at all, and each that finds none.
  v_thorough boolean := p_limit < 50 or random() < 0.125;
  v_suspects boolean;
  v_suspect bigint;
  v_left integer := p_limit;
  -- What the jobs of one queue may weigh; half of it for each queue after one that has given some.
  v_bytes integer := 4194304;
  v_leased integer;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_list('queues', p_queues);
  if p_worker_id is null then
    raise exception 'worker id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  perform leasehold._require_limit(p_limit, 10000);
  p_lease := leasehold._require_span('lease', p_lease, interval '1 second', interval '1 day');

  select
    array_agg(queue order by array_position(p_queues, queue.name)),
    exists (select from leasehold.ready as ready where ready.suspect)
  into v_queues, v_suspects
  from leasehold.queue as queue
  where queue.name = any (p_queues)
    and queue.dropped_at is null;

  -- One that is missing keeps nobody from the others.
  if v_queues is null then
    perform leasehold._queue(wanted.name) from unnest(p_queues) as wanted (name);
  end if;

  if v_suspects then
    v_suspects := not exists (
      select
      from leasehold.lease as lease
      where lease.worker_id = p_worker_id
        and lease.suspect
    );
  end if;

  foreach v_queue in array coalesce(v_queues, '{}') loop
    exit when v_left = 0;
    continue when v_queue.paused_at is not null;
    if v_suspects then
      select ready.job_id into v_suspect
      from leasehold.ready as ready
      where ready.suspect
        and ready.queue_id = v_queue.queue_id
      order by ready.priority, ready.job_id
      limit 1
      for update skip locked;
      -- One a call. It keeps its place, so that it may not be among those that are leased.
      v_suspects := v_suspect is null;
    end if;
    v_line := leasehold._line(v_queue.queue_id, v_suspect);
    continue when v_line is null;
    v_priorities := c_priorities;
    v_ends := array_fill(c_endless, array[10]);
    if cardinality(v_line) > 10 then
      select
        array_agg(place.priority order by place.priority, place.job_id),
        array_agg(place.job_id order by place.priority, place.job_id),
        array_agg(place.end_id order by place.priority, place.job_id)
      into v_priorities, v_line, v_ends
      from leasehold._places(v_line) as place;
    end if;

    -- A call made before under this id is answered with the leases it made. One that is under way
    -- is waited for at the unique key. A quiet poll writes nothing.
    if p_request_id is not null and not v_remembered then
      v_lock_timeout := leasehold._limit_waits();
      insert into leasehold.request (request_id, requested_at)
      values (p_request_id, leasehold._now())
      on conflict do nothing;
      v_remembered := found;
      perform set_config('lock_timeout', v_lock_timeout, true);
      exit when not v_remembered;
    end if;

    v_now := leasehold._now();
    v_duration := coalesce(p_lease, v_queue.lease_duration);
    v_epoch := coalesce(v_epoch, leasehold._epoch());
    -- Tokens of one call are digests of one secret of 244 random bits: as hard to guess as random ones,
    -- and none tells another, without asking the system for randomness once a job.
    v_seed := coalesce(v_seed, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

    loop
      return query
      with place as materialized (
        -- Priority by priority: what lies below the mark is older than what lies above.
        select place.*
        from unnest(v_line) with ordinality as line (job_id, nth)
        cross join lateral (
          select below.*
          from (
            select
              ready.ctid as row_address, ready.job_id, ready.priority,
              ready.attempt + 1 as attempt, ready.failures, ready.losses, ready.releases
            from leasehold.ready as ready
            where ready.returned
              and ready.queue_id = v_queue.queue_id
              and ready.priority = v_priorities[line.nth]
              and ready.job_id < line.job_id
              and v_ends[line.nth] = c_endless
              and (ready.live_until is null or ready.live_until > v_now)
              and (
                not ready.suspect and (v_thorough or ready.xmax = '0')
                or ready.job_id = v_suspect
              )
            order by ready.job_id
            limit v_left
            for update skip locked
          ) as below
          union all
          select above.*
          from (
            select
              ready.ctid as row_address, ready.job_id, ready.priority,
              ready.attempt + 1 as attempt, ready.failures, ready.losses, ready.releases
            from leasehold.ready as ready
            where ready.queue_id = v_queue.queue_id
              and ready.priority = v_priorities[line.nth]
              and ready.job_id >= line.job_id
              and ready.job_id < v_ends[line.nth]
              and (not ready.returned or v_ends[line.nth] = c_endless)
              and (ready.live_until is null or ready.live_until > v_now)
              and (
                not ready.suspect and (v_thorough or ready.xmax = '0')
                or ready.job_id = v_suspect
              )
            order by ready.job_id
            limit v_left
            for update skip locked
          ) as above
        ) as place
        limit v_left
      ), granted as materialized (
        -- What a job weighs comes first, so that no more of the row is read to add it up.
        select
          place.job_id, place.priority, place.attempt, place.failures, place.losses, place.releases,
          coalesce(job.bytes, 256) as bytes,
          case when place.attempt > 1 then (
            select checkpoint.data
            from leasehold.checkpoint as checkpoint
            where checkpoint.job_id = place.job_id
          ) end as checkpoint,
          v_epoch << 32 | place.attempt as fence,
          encode(substr(sha256(v_seed || int8send(place.job_id)), 1, 16), 'hex')::uuid as token,
          coalesce(job.max_runtime, v_queue.max_runtime) as max_runtime,
          job.enqueued_at, job.payload, job.headers
        from place
        -- One walk of the key for all of them, whatever the statistics say.
        join leasehold.job as job on job.job_id = place.job_id
        where job.job_id = any (array(select place.job_id from place))
      ), excess as materialized (
        -- The end of the line, if all of it weighs too much; of a call that has leased none yet, not the first.
        select
          case when sum(granted.bytes + coalesce(octet_length(granted.checkpoint::text), 0)) > v_bytes then
            leasehold._excess(array_agg(granted.job_id), v_bytes, v_left = p_limit)
          end as job_ids
        from granted
      ), gone as (
        -- Rows of ready are never updated, so the address that was locked is the row.
        delete from leasehold.ready as ready
        where ready.ctid = any (array(
          select place.row_address
          from place
          where place.job_id <> all (coalesce((select excess.job_ids from excess), '{}'))
        ))
      ), leased as (
        insert into leasehold.lease (
          job_id, fence, leased_at, heartbeat_at, expires_at, runs_until, token, worker_id,
          request_id, duration, queue_id, attempt, releases, failures, losses, priority, suspect
        )
        select
          granted.job_id, granted.fence, v_now, v_now, v_now + v_duration,
          v_now + granted.max_runtime, granted.token,
          p_worker_id, p_request_id, v_duration, v_queue.queue_id, granted.attempt,
          granted.releases, granted.failures, granted.losses, granted.priority,
          coalesce(granted.job_id = v_suspect, false)
        from granted
        where granted.job_id <> all (coalesce((select excess.job_ids from excess), '{}'))
      )
      select
        granted.job_id, v_queue.name, granted.priority, granted.payload, granted.headers,
        granted.token, granted.fence, granted.attempt, granted.failures, granted.losses,
        granted.releases,
        granted.checkpoint,
        v_duration, v_duration, granted.max_runtime, granted.enqueued_at, v_now + v_duration
      from granted
      where granted.job_id <> all (coalesce((select excess.job_ids from excess), '{}'))
      order by granted.priority, granted.job_id;

      get diagnostics v_leased = row_count;
      v_left := v_left - v_leased;
      if v_leased > 0 then
        v_bytes := v_bytes / 2;
      end if;
      exit when v_thorough or v_leased > 0;
      v_thorough := true;
    end loop;
  end loop;

  if not v_remembered and exists (
    select from leasehold.request as request where request.request_id = p_request_id
  ) then
    return query
    select * from leasehold._leases_of_request(p_queues, p_worker_id, p_request_id, p_limit);
  end if;
end;
$$;

comment on function leasehold.lease_jobs(text[], uuid, integer, interval, uuid) is
$doc$Leases jobs that can run now: never more than the limit, each to this caller alone.

p_queues      queues to take from, the first before the second; within one by priority, then by age;
              those that do not exist are left out, and register_worker says which these are
p_worker_id   the process that asks, a new uuid at every boot
p_limit       most jobs to lease, 1 to 10000
p_lease       length of the leases, 1 second to 1 day; null: each queue's default
p_request_id  a new uuid for each call: repeating a call whose answer was lost returns the same leases;
              with a smaller limit the first of them, and the others are released

Returns the jobs in the order of the line. Each has its token, to be shown by every later call. Fewer than the
limit need not be all there are: of fifty or more, jobs that another transaction has touched may be passed over for
this call, also where it was rolled back. Payloads, headers and checkpoints of a call weigh 8 MiB at most as text, unless
it is of one job. None is returned only where none can be had.
Of jobs that have lapsed twice or more, which may be what kills their workers, a worker holds one at a time.
Raises LH005 queue_not_found if none of the queues exists, LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the rows it takes and skips what others have locked. Waits up to 5 seconds for a call that is under way
with the same request id, then raises 55P03. Safe to repeat with p_request_id for ten minutes.$doc$;
