-- Moves the mark of a queue up to its first jobs, and answers where it is. No further than ids that are all
-- committed or gone: what another transaction has deleted but not committed, this one still sees; what
-- one has yet to insert, its claim tells.
create or replace function leasehold._advance_mark(
  p_queue_id integer,
  p_mark bigint[]
)
  returns bigint[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_given bigint;
  v_end bigint;
  v_mark bigint[];
begin
  -- In this order, each with eyes of its own: who has claimed nothing yet gets ids from v_given on; who
  -- has let go of a claim has committed, and is seen below.
  v_given := coalesce(pg_sequence_last_value('leasehold.job_job_id_seq'), 0);
  select least(v_given, min(claim.objid::bigint << 12)) into v_end
  from pg_locks as claim
  where claim.locktype = 'advisory'
    and claim.classid::bigint = leasehold._enqueue_class()
    and claim.objsubid = 2
    and claim.database = (select oid from pg_database where datname = current_database());

  select array_agg(greatest(line.job_id, least(v_end, first.job_id)) order by line.nth) into v_mark
  from unnest(p_mark) with ordinality as line (job_id, nth)
  left join lateral (
    select ready.job_id
    from leasehold.ready as ready
    where ready.queue_id = p_queue_id
      and ready.priority = line.nth - 1
      and ready.job_id >= line.job_id
      -- They wait for a worker without another, and are found below the mark like all that returned.
      and not ready.suspect
    order by ready.job_id
    limit 1
  ) as first on true;

  update leasehold.mark as mark
  set job_ids = array(
    select greatest(moved.theirs, moved.ours)
    from unnest(mark.job_ids, v_mark) with ordinality as moved (theirs, ours, nth)
    order by moved.nth
  )
  where mark.queue_id = (
    select mark.queue_id
    from leasehold.mark as mark
    where mark.queue_id = p_queue_id
      and mark.job_ids <> v_mark
    for update skip locked
  );
  return v_mark;
end;
$$;
