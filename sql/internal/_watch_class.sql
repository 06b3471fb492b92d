-- The first half of the advisory lock keys that say who watches which queue. Anybody may take such a lock:
-- then nobody is woken, and all poll.
create or replace function leasehold._watch_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320775;
