-- Says that this transaction puts jobs back into these queues, so that no line of theirs for such jobs ends or
-- begins further on before it has committed. Answers the marks of those queues that nobody moves just now. Of
-- the others, and where an old snapshot could not show how far a mark was moved, jobs go to the line that
-- is called as their priority.
create or replace function leasehold._claim_return(p_queue_ids integer[])
  returns setof leasehold.mark
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_ids integer[];
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    return;
  end if;
  v_queue_ids := array(
    select claimed.queue_id
    from (select distinct queue_id from unnest(p_queue_ids) as queue_id) as claimed
    where pg_try_advisory_xact_lock_shared(leasehold._mark_class(), 16 + claimed.queue_id % 16)
  );
  return query
  select mark.*
  from leasehold.mark as mark
  where mark.queue_id = any (v_queue_ids);
end;
$$;
