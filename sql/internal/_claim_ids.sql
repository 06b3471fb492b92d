-- Says that this transaction will commit jobs of a queue with these ids, so that the mark leaves their blocks
-- open. Answers from which id on they stand above the mark: one that was moved, or is being moved, before
-- it could know of them may have passed them.
create or replace function leasehold._claim_ids(
  p_queue_id integer,
  p_job_ids bigint[]
)
  returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_claimed boolean;
begin
  -- They ascend, as the sequence gave them, and most batches are within one block.
  if leasehold._block(p_job_ids[1]) = leasehold._block(p_job_ids[cardinality(p_job_ids)]) then
    v_claimed := leasehold._claim_block(leasehold._block(p_job_ids[1]));
  else
    select bool_and(leasehold._claim_block(block)) into v_claimed
    from (select distinct leasehold._block(job_id) as block from unnest(p_job_ids) as job_id) as claimed;
  end if;

  -- Who moves a mark holds this until that is committed, and it has read the claims in that time. An old snapshot
  -- would not show how far it was moved.
  if v_claimed
    and current_setting('transaction_isolation') = 'read committed'
    and pg_try_advisory_lock_shared(leasehold._mark_class(), p_queue_id % 16)
  then
    perform pg_advisory_unlock_shared(leasehold._mark_class(), p_queue_id % 16);
    return coalesce(
      (
        select max(job_id)
        from leasehold.mark as mark
        cross join unnest(mark.job_ids) as job_id
        where mark.queue_id = p_queue_id
      ),
      0::bigint
    );
  end if;
  return 9223372036854775807;
end;
$$;
