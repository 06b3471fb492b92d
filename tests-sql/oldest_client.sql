-- oldest_client: clients that were made for an older schema see whether they may go on.
begin;
select plan(2);

select ok(
  leasehold.oldest_client() between 1 and leasehold.schema_version(),
  'S37 oldest_client is a version that was, or this one'
);
set local transaction_read_only = on;
select is(leasehold.oldest_client(), 1, 'S37 oldest_client works in a read-only transaction');

select * from finish();
rollback;
