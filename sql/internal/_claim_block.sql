-- Says that this transaction may commit jobs with ids of this block, which it has not taken yet or whose mark it
-- looks at afterwards, so that the mark leaves the block open. False if somebody is in the way.
create or replace function leasehold._claim_block(p_block bigint)
  returns boolean
  language sql
  volatile
return pg_catalog.pg_try_advisory_xact_lock_shared(
  leasehold._enqueue_class(), (p_block & 2147483647)::integer
);
