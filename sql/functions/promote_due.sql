create or replace function leasehold.promote_due(p_limit integer default 1000)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now timestamptz;
  v_queue_ids integer[];
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 10000);

  v_now := leasehold._now();

  with due as (
    -- Rows of scheduled are never updated, so the address that is locked is the row.
    delete from leasehold.scheduled as scheduled
    where scheduled.ctid = any (array(
      select due.ctid
      from leasehold.scheduled as due
      where due.run_at <= v_now
      order by due.run_at
      limit p_limit
      for update skip locked
    ))
    returning scheduled.*
  ), promoted as (
    insert into leasehold.ready (
      job_id, live_until, queue_id, attempt, releases, failures, losses, priority
    )
    select
      due.job_id, due.live_until, due.queue_id, due.attempt, due.releases, due.failures,
      due.losses, due.priority
    from due
    returning queue_id
  )
  select array_agg(promoted.queue_id) into v_queue_ids from promoted;

  perform leasehold._wake(queue_id, count(*))
  from unnest(v_queue_ids) as queue_id
  group by queue_id;
  return coalesce(cardinality(v_queue_ids), 0);
end;
$$;

comment on function leasehold.promote_due(integer) is
$doc$Makes scheduled jobs ready whose time has come, the longest due first, and wakes their workers.

p_limit  most jobs to move, 1 to 10000

Returns how many it moved. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
