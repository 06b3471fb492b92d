-- schema_version: clients see whether they know this schema.
begin;
select plan(3);

select is(leasehold.schema_version(), 1, 'schema_version is the number of the last migration');
select is(
  (select provolatile from pg_proc where oid = 'leasehold.schema_version()'::regprocedure), 'i',
  'schema_version is the same in every call'
);
set local transaction_read_only = on;
select is(leasehold.schema_version(), 1, 'schema_version works in a read-only transaction');

select * from finish();
rollback;
