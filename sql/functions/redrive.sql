create or replace function leasehold.redrive(
  p_job_ids bigint[] default null,
  p_queue text default null,
  p_limit integer default 1000
)
  returns setof bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text;
  v_queue leasehold.queue;
  v_now timestamptz;
  v_job_ids bigint[];
  v_redriven record;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 10000);
  if (p_job_ids is null) = (p_queue is null) then
    raise exception 'name either job ids or a queue' using errcode = 'invalid_parameter_value';
  end if;
  if p_job_ids is not null then
    perform
      leasehold._require_list('job ids', p_job_ids),
      leasehold._require_number('number of job ids', cardinality(p_job_ids), 0, p_limit);
  end if;
  if p_queue is not null then
    v_queue := leasehold._queue(p_queue);
  end if;
  v_now := leasehold._now();

  -- Prune locks the same rows first, so that neither waits for the other.
  v_job_ids := array(
    select job.job_id
    from leasehold.job as job
    where job.job_id = any (array(
      select dead.job_id
      from leasehold.finished as finished
      join leasehold.job as dead
        on dead.queue_id = finished.queue_id
        and dead.job_id = finished.job_id
      join leasehold.queue as queue
        on queue.queue_id = finished.queue_id
        and queue.dropped_at is null
      where finished.outcome = 'dead'
        and (p_job_ids is null or finished.job_id = any (p_job_ids))
        and (p_queue is null or finished.queue_id = v_queue.queue_id)
        and not exists (
          select
          from leasehold.dedup as dedup
          where dedup.queue_id = dead.queue_id
            and dedup.dedup_key = dead.dedup_key
            and dedup.job_id <> dead.job_id
            and leasehold._is_live(dedup.job_id)
        )
      order by dead.job_id
      limit p_limit
    ))
    order by job.job_id
    for no key update skip locked
  );

  v_lock_timeout := leasehold._limit_waits();
  -- Of the jobs of one key one may live. A key that is free, or that no live job has, is taken back.
  with keyed as (
    select job.job_id, job.queue_id, job.dedup_key
    from leasehold.job as job
    where job.job_id = any (v_job_ids)
      and job.dedup_key is not null
  ), taken as (
    insert into leasehold.dedup as dedup (job_id, expires_at, queue_id, dedup_key)
    select distinct on (keyed.queue_id, keyed.dedup_key)
      keyed.job_id, v_now, keyed.queue_id, keyed.dedup_key
    from keyed
    order by keyed.queue_id, keyed.dedup_key, keyed.job_id
    on conflict on constraint dedup_key_is_taken_once_a_queue do update
    set job_id = excluded.job_id
    where dedup.job_id = excluded.job_id
      or not leasehold._is_live(dedup.job_id)
    returning dedup.job_id
  )
  select array_agg(mine.job_id) into v_job_ids
  from unnest(v_job_ids) as mine (job_id)
  where not exists (select from keyed where keyed.job_id = mine.job_id)
    or exists (select from taken where taken.job_id = mine.job_id);
  perform set_config('lock_timeout', v_lock_timeout, true);

  with risen as (
    delete from leasehold.finished as finished
    using leasehold.job as job
    where job.job_id = any (v_job_ids)
      and finished.queue_id = job.queue_id
      and finished.job_id = job.job_id
      and finished.outcome = 'dead'
    returning finished.*
  ), renewed as (
    update leasehold.job as job
    set generation = job.generation + 1, redriven_after = risen.attempt
    from risen
    where job.job_id = risen.job_id
  ), put_back as (
    -- A new generation has all its budgets; attempts go on counting, so the fence never falls.
    insert into leasehold.ready (job_id, queue_id, attempt, releases, failures, losses, priority)
    select risen.job_id, risen.queue_id, risen.attempt, 0, 0, 0, risen.priority
    from risen
    returning job_id, queue_id
  )
  select array_agg(put_back.job_id order by put_back.job_id) as job_ids, array_agg(put_back.queue_id) as queue_ids
  into v_redriven
  from put_back;

  perform leasehold._wake(queue_id, count(*))
  from unnest(v_redriven.queue_ids) as queue_id
  group by queue_id;
  return query select unnest(v_redriven.job_ids);
end;
$$;

comment on function leasehold.redrive(bigint[], text, integer) is
$doc$Puts dead jobs back in line as a new generation: all budgets whole, no time to live, history kept.

p_job_ids  the dead jobs, at most p_limit; or
p_queue    any dead jobs of this queue, oldest first
p_limit    most jobs to put back, 1 to 10000

Returns the ids of the jobs it put back. Left alone are jobs that are not dead, whose queue was dropped, that another
call holds, or whose dedup key another live job has: enqueue with that key returns the id of that one.
A job that is put back has its dedup key again. Waits up to 10 seconds for a transaction that has
enqueued a job of that key, then raises 55P03.
Raises LH005 queue_not_found, LH006 isolation_not_supported, LH007 read_only, 22023. Safe to repeat.$doc$;
