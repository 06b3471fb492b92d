-- Among how many buckets the sessions that wait are divided, so that a job wakes few of them.
create or replace function leasehold._buckets()
  returns integer
  language sql
  immutable
  parallel safe
return 8;
