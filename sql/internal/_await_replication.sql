-- Lets a transaction that only tells what an earlier one did wait at its commit until that is replicated, as
-- the earlier one did: a commit waits if it has an id and has written to the log, and only then.
create or replace function leasehold._await_replication()
  returns void
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select pg_logical_emit_message(true, 'leasehold', '')
$$;
