-- unwatch: ends one watch.
begin;
select plan(5);
select leasehold.create_queue('loud');
select leasehold.watch(array['loud']);
select leasehold.watch(array['loud']);

select leasehold.unwatch(array['loud']);
select is(
  (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), 1,
  'unwatch ends one watch of two'
);
select leasehold.unwatch(array['loud']);
select is(
  (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), 0,
  'unwatch ends the last watch'
);
select lives_ok($$select leasehold.unwatch(array['loud', 'nowhere'])$$, 'unwatch without a watch does nothing');
select throws_ok($$select leasehold.unwatch(null)$$, '22023', null, 'unwatch refuses null');
select throws_ok($$select leasehold.unwatch(array[null])$$, '22023', null, 'unwatch refuses a null queue');
select * from finish();
rollback;
