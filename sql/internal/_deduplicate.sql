-- Which id each new job goes by: its fresh one, or that of the job which holds its dedup key.
-- The unique key decides between two callers at once: the second waits for the first's commit, but not for ever.
create or replace function leasehold._deduplicate(
  p_queue_id integer,
  p_jobs leasehold._new_job[],
  p_fresh_ids bigint[],
  p_now timestamptz
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_lock_timeout text := leasehold._limit_waits();
begin
  -- Taken in key order, so that two batches cannot deadlock. A key whose window has passed and
  -- whose job has ended is taken anew; any other stays, locked until the caller's commit.
  insert into leasehold.dedup as dedup (job_id, expires_at, queue_id, dedup_key)
  select distinct on (job.dedup_key)
    p_fresh_ids[job.ordinality], p_now + leasehold._hours(job.dedup_window), p_queue_id, job.dedup_key
  from unnest(p_jobs) with ordinality as job
  where job.dedup_key is not null
  order by job.dedup_key, job.ordinality
  on conflict on constraint dedup_key_is_taken_once_a_queue do update
  set job_id = excluded.job_id, expires_at = excluded.expires_at
  where dedup.expires_at <= p_now
    and not leasehold._is_live(dedup.job_id);
  perform set_config('lock_timeout', v_lock_timeout, true);

  return array(
    select coalesce(holder.job_id, p_fresh_ids[job.ordinality])
    from unnest(p_jobs) with ordinality as job
    left join leasehold.dedup as holder
      on holder.queue_id = p_queue_id
      and holder.dedup_key = job.dedup_key
    order by job.ordinality
  );
end;
$$;
