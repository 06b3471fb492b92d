-- The first half of the advisory lock keys of who moves a mark; a few queues share one, so that a transaction
-- takes few of them. Anybody may take such a lock: then marks stay where they are.
create or replace function leasehold._mark_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320781;
