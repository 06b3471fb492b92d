-- rise: ends one doze.
begin;
select plan(6);
select leasehold.create_queue('loud');
select leasehold.doze(array['loud']);
select leasehold.doze(array['loud']);

select leasehold.rise(array['loud'], p_dozed => false);
select leasehold.rise(array['loud']);
select is(
  (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), 2,
  'rise ends one doze of two, and none where it is to pass on only'
);
select leasehold.rise(array['loud']);
select is(
  (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), 0,
  'rise ends the last doze'
);
select lives_ok($$select leasehold.rise(array['loud', 'nowhere'])$$, 'rise without a doze does nothing');
select lives_ok($$select leasehold.rise(array['loud'], null)$$, 'rise with nothing said of a doze only passes on');
select throws_ok($$select leasehold.rise(null)$$, '22023', null, 'rise refuses null');
select throws_ok($$select leasehold.rise(array[null])$$, '22023', null, 'rise refuses a null queue');
select * from finish();
rollback;
