-- The first half of the advisory lock keys that say who watches. Anybody may take such a lock: then nobody is
-- told, and all poll.
create or replace function leasehold._watching_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320775;
