-- The only clock. A body of SQL standard form is inlined, so it costs nothing,
-- and a test may replace it inside its own transaction.
create or replace function leasehold._now()
  returns timestamptz
  language sql
  volatile
  parallel safe
return pg_catalog.clock_timestamp();
