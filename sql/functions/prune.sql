create or replace function leasehold.prune(p_limit integer default 10000)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
as $$
declare
  v_now timestamptz;
  v_today timestamptz;
  v_past bigint[];
  v_pruned integer;
  v_partition text;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 100000);
  v_now := leasehold._now();
  v_today := date_trunc('day', v_now, 'UTC');

  -- Whole days only: the partitions of days gone by are emptied, then dropped.
  with past as (
    select finished.queue_id, finished.job_id, finished.keep_until
    from leasehold.finished as finished
    -- The job's row is locked by who was just told its end.
    join leasehold.job as job on job.job_id = finished.job_id
    where finished.keep_until < v_today
    limit p_limit
    for update skip locked
  ), gone as (
    delete from leasehold.finished as finished
    using past
    where finished.keep_until = past.keep_until
      and finished.queue_id = past.queue_id
      and finished.job_id = past.job_id
    returning finished.job_id
  )
  select array_agg(gone.job_id) into v_past from gone;
  v_pruned := leasehold._erase(coalesce(v_past, '{}'));

  for v_partition in
    select child.relname::text
    from pg_inherits as heritage
    join pg_class as child on child.oid = heritage.inhrelid
    where heritage.inhparent = 'leasehold.finished'::regclass
      and child.relname ~ '^finished_[0-9]{8}$'
      and to_date(right(child.relname, 8), 'YYYYMMDD') < v_today at time zone 'UTC'
  loop
    exit when exists (select from leasehold.finished as finished where finished.keep_until < v_today);
    begin
      execute format('drop table leasehold.%I', v_partition);
    exception
      -- Somebody reads it, or another process has just dropped it: the next round tries again.
      when lock_not_available or undefined_table then null;
    end;
  end loop;
  perform leasehold._ensure_finished_partitions();

  -- A job that slipped into its queue while that was dropped.
  begin
    perform leasehold._withdraw(
      array(
        select live.job_id
        from leasehold.queue as queue
        join leasehold._live as live on live.queue_id = queue.queue_id
        where queue.dropped_at is not null
          and live.state <> 'leased'
        limit p_limit
      ),
      'cancelled',
      'queue_dropped'
    );
  exception
    when lock_not_available then null;
  end;

  delete from leasehold.request as request
  where request.ctid = any (array(
    select old.ctid from leasehold.request as old
    where old.requested_at < v_now - interval '10 minutes'
    limit 10 * p_limit
  ));
  -- Every key past its window costs a look at its job, which may live for days: not every minute.
  if leasehold._is_due('dedup', interval '10 minutes') then
    delete from leasehold.dedup as dedup
    where (dedup.queue_id, dedup.dedup_key) in (
      select old.queue_id, old.dedup_key
      from leasehold.dedup as old
      where old.expires_at <= v_now
        and not leasehold._is_live(old.job_id)
      limit p_limit
      for update skip locked
    );
  end if;
  delete from leasehold.outage as outage where outage.ended_at < v_now - interval '48 hours';
  delete from leasehold.worker as worker
  where worker.heartbeat_at < v_now - interval '24 hours'
    and not exists (
      select from leasehold.lease as lease where lease.worker_id = worker.worker_id
    );

  with folded as (
    delete from leasehold.tally as tally
    where tally.ctid = any (array(
      select old.ctid from leasehold.tally as old limit 10 * p_limit for update skip locked
    ))
    returning tally.queue_id, tally.pruned
  )
  insert into leasehold.tally (queue_id, pruned)
  select folded.queue_id, sum(folded.pruned) from folded group by folded.queue_id;

  return v_pruned;
end;
$$;

comment on function leasehold.prune(integer) is
$doc$Removes what is past its time: finished jobs after their retention with all that belongs to them, dedup
keys, remembered requests, workers not seen for a day. Makes the partitions of the days to come.

p_limit  most jobs to remove, 1 to 100000

Returns how many jobs it removed. Waits for no lock longer than 100 ms; what it cannot get the next round
takes. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
