-- Removes rows of dedup or request whose time has passed, page by page from where the last call stopped, until
-- an instant. Answers how many, and whether it came to the end of the table. A look takes as long as the pages
-- it reads, whatever has yet to be vacuumed, and neither table pays for an index.
create or replace function leasehold._sweep(
  p_task text,
  p_until timestamptz,
  out swept integer,
  out is_through boolean
)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := leasehold._now();
  v_pages bigint := pg_relation_size(('leasehold.' || p_task)::regclass)
    / current_setting('block_size')::integer;
  v_page bigint;
  v_first tid;
  v_end tid;
  v_gone integer;
begin
  select upkeep.next_page into v_page from leasehold.upkeep as upkeep where upkeep.task = p_task;
  swept := 0;
  loop
    is_through := coalesce(v_page, 0) >= v_pages;
    exit when is_through;
    v_first := format('(%s,0)', v_page)::tid;
    v_page := v_page + 8;
    v_end := format('(%s,0)', v_page)::tid;

    if p_task = 'dedup' then
      delete from leasehold.dedup as dedup
      where dedup.ctid = any (array(
        select old.ctid
        from leasehold.dedup as old
        where old.ctid >= v_first
          and old.ctid < v_end
          and old.expires_at <= v_now
          and not leasehold._is_live(old.job_id)
        for update skip locked
      ));
    else
      delete from leasehold.request as request
      where request.ctid = any (array(
        select old.ctid
        from leasehold.request as old
        where old.ctid >= v_first
          and old.ctid < v_end
          and old.requested_at < v_now - interval '10 minutes'
        for update skip locked
      ));
    end if;
    get diagnostics v_gone = row_count;
    swept := swept + v_gone;
    exit when leasehold._now() >= p_until;
  end loop;

  v_page := case when is_through then 0 else v_page end;
  update leasehold.upkeep as upkeep
  set next_page = v_page
  where upkeep.task = (
    select held.task
    from leasehold.upkeep as held
    where held.task = p_task
      and held.next_page <> v_page
    for update skip locked
  );
end;
$$;
