-- retire_worker: a process that stops is forgotten, unless it still holds jobs.
begin;
select plan(12);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

select leasehold.register_worker('00000000-0000-4000-8000-000000000001', array['work']);
select leasehold.register_worker('00000000-0000-4000-8000-000000000002', array['work']);
select is(leasehold.retire_worker('00000000-0000-4000-8000-000000000001'), true, 'retire_worker removes a worker');
select is(
  array(select worker_id::text from leasehold.worker), array['00000000-0000-4000-8000-000000000002'],
  'other workers stay'
);
select is(leasehold.retire_worker('00000000-0000-4000-8000-000000000001'), false, 'retire_worker again finds none (G5)');
select leasehold_test.start('work');
select leasehold.register_worker(leasehold_test.worker_id('work'), array['work']);
select is(leasehold.retire_worker(leasehold_test.worker_id('work')), false, 'retire_worker leaves a worker that still holds a lease (S19)');
select is((select count(*)::integer from leasehold.worker), 2, 'the worker is still there');
select leasehold.complete(leasehold_test.job_id('work'), leasehold_test.token('work'));
select is(leasehold.retire_worker(leasehold_test.worker_id('work')), true, 'retire_worker removes it once it has settled its jobs');

-- The secret: a worker's id is shown to everybody.
select leasehold.register_worker('00000000-0000-4000-8000-000000000003', '{}', p_secret => '00000000-0000-4000-8000-00000000000a');
select throws_ok(
  format('select leasehold.retire_worker(''00000000-0000-4000-8000-000000000003'', %L)', bad),
  '22023', null, format('S21 retire_worker refuses a worker''s id with the secret %s', coalesce(bad, 'null'))
)
from unnest(array[null, '00000000-0000-4000-8000-00000000000b']) as bad;
select is(
  leasehold.retire_worker('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-00000000000a'), true,
  'S21 retire_worker takes the worker''s own secret'
);
select is(
  leasehold.retire_worker('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-00000000000a'), false,
  'S21 and again finds none (G5)'
);
select throws_ok('select leasehold.retire_worker(null)', '22023', null, 'retire_worker refuses a null worker');
select throws_ok(
  'set local transaction_read_only = on; select leasehold.retire_worker(gen_random_uuid())', 'LH007', null,
  'retire_worker refuses a read-only transaction'
);

select * from finish();
rollback;
