-- The second half of the advisory lock keys of a session that waits for these queues, in ascending order: the
-- id of a single queue; for more, so that two locks do for any number, one of 62 slots, as a negative number.
-- Each queue knows the slots it is waited for in. Null for no queue.
create or replace function leasehold._waiting_key(p_queue_ids integer[])
  returns integer
  language sql
  immutable
  parallel safe
return case pg_catalog.cardinality(p_queue_ids)
  when 0 then null
  when 1 then p_queue_ids[1]
  else -1 - (pg_catalog.hash_array(p_queue_ids) & 2147483647) % 62
end;
