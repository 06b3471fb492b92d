-- The first half of the advisory lock keys that say who waits to be told: this for all sessions, the numbers
-- after it for their buckets. Anybody may take such a lock: then hints are sent that nobody needs, or a
-- session polls.
create or replace function leasehold._waiting_class()
  returns integer
  language sql
  immutable
  parallel safe
return 1281320784;
