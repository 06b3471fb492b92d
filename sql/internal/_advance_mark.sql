-- Moves the mark of a queue up to its first jobs. No further than ids that are all committed or gone: what
-- another transaction has deleted but not committed, this one still sees; what one has yet to insert, its claim
-- tells. It passes a few blocks that are claimed, and says that they are open until nothing is left there.
create or replace function leasehold._advance_mark(p_queue_id integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  c_most_open constant integer := 8;
  v_mark bigint[];
  v_open bigint[];
  v_given bigint;
  v_claimed bigint[];
  v_end bigint;
begin
  -- One at a time, until it has committed; who has just claimed ids tests this lock for an instant.
  if not pg_try_advisory_xact_lock(leasehold._mark_class(), p_queue_id % 16) then
    return;
  end if;
  perform
  from leasehold.mark as mark
  where mark.queue_id = p_queue_id
  for update skip locked;
  if not found then
    return;
  end if;
  select mark.job_ids, mark.open_blocks into v_mark, v_open
  from leasehold.mark as mark
  where mark.queue_id = p_queue_id;

  -- In this order, each with eyes of its own: who has claimed nothing yet gets ids from v_given on; who
  -- has let go of a claim has committed, and is seen below.
  v_given := leasehold._last_id();
  v_claimed := array(
    select distinct claim.objid::bigint
    from pg_locks as claim
    where claim.locktype = 'advisory'
      and claim.classid::bigint = leasehold._enqueue_class()
      and claim.objsubid = 2
      and claim.database = (select oid from pg_database where datname = current_database())
  );

  -- Ids have begun anew.
  if v_given < any (v_mark) then
    v_mark := array_fill(0::bigint, array[10]);
    v_open := '{}';
  end if;

  -- A block stays open while it is claimed, or holds jobs that came straight from their enqueue.
  v_open := array(
    select block
    from unnest(v_open) as block
    where block = any (v_claimed)
      or exists (
        select
        from leasehold._places(v_mark || block) as place
        cross join lateral (
          select
          from leasehold.ready as ready
          where not ready.returned
            and ready.queue_id = p_queue_id
            and ready.priority = place.priority
            and ready.job_id >= place.job_id
            and ready.job_id < place.end_id
          limit 1
        ) as ready
        where place.job_id = block << 12
          and place.end_id <= block + 1 << 12
      )
  );
  v_open := v_open || array(
    select block
    from unnest(v_claimed) as block
    where block <> all (v_open)
    order by block
    limit greatest(c_most_open - cardinality(v_open), 0)
  );
  select least(v_given, min(block) << 12) into v_end
  from unnest(v_claimed) as block
  where block <> all (v_open);

  v_mark := array(
    select greatest(line.job_id, least(v_end, first.job_id))
    from unnest(v_mark) with ordinality as line (job_id, nth)
    left join lateral (
      select ready.job_id
      from leasehold.ready as ready
      where ready.queue_id = p_queue_id
        and ready.priority = line.nth - 1
        and ready.job_id >= line.job_id
        and leasehold._block(ready.job_id) <> all (v_open)
        -- They wait for a worker without another, and are found below the mark like all that returned.
        and not ready.suspect
      order by ready.job_id
      limit 1
    ) as first on true
    order by line.nth
  );
  v_open := array(
    select block
    from unnest(v_open) as block
    where block << 12 < any (v_mark)
    order by block
  );

  update leasehold.mark as mark
  set job_ids = v_mark, open_blocks = v_open
  where mark.queue_id = p_queue_id
    and (mark.job_ids <> v_mark or mark.open_blocks <> v_open);
end;
$$;
