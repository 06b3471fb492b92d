-- The first half of the advisory lock keys that say which ids a transaction may still commit. Anybody
-- may take such a lock: then lines begin further back.
create or replace function leasehold._enqueue_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320774;
