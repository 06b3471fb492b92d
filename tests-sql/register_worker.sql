-- register_worker: a process says that it is there, and with its secret that it has not vanished.
begin;
select plan(22);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

-- The ordinary case.
select leasehold.register_worker(
  '00000000-0000-4000-8000-000000000001', array['work', 'other'], 8, 'build-3', 4711, '0.1.0'
);
select is(
  (select (started_at = leasehold._now(), heartbeat_at = leasehold._now(), queues, concurrency, host, pid, client_version)::text
    from leasehold.worker where worker_id = '00000000-0000-4000-8000-000000000001'),
  '(t,t,"{work,other}",8,build-3,4711,0.1.0)', 'register_worker says who works where on what'
);
create temp table before on commit drop as select leasehold_test.state();
select lives_ok(
  $$select leasehold.register_worker('00000000-0000-4000-8000-000000000001', array['work', 'other'], 8, 'build-3', 4711, '0.1.0')$$,
  'register_worker may be repeated (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat at the same instant changes nothing (G5)');
select leasehold_test.advance('20 seconds');
select leasehold.register_worker('00000000-0000-4000-8000-000000000001', array['other'], 4, 'build-4', 4712, '0.2.0');
select is(
  (select (leasehold._now() - started_at, leasehold._now() - heartbeat_at, queues, concurrency, host, pid, client_version)::text
    from leasehold.worker where worker_id = '00000000-0000-4000-8000-000000000001'),
  '(00:00:20,00:00:00,{other},4,build-4,4712,0.2.0)', 'registering again renews the sign of life and keeps when it started'
);
select lives_ok($$select leasehold.register_worker(gen_random_uuid(), '{}')$$, 'a worker may serve no queue and tell nothing else');
select leasehold.register_worker('00000000-0000-4000-8000-000000000002', '{}', p_host => repeat('x', 300), p_client_version => repeat('y', 300));
select is(
  (select (length(host), length(client_version))::text from leasehold.worker where worker_id = '00000000-0000-4000-8000-000000000002'),
  '(255,255)', 'long texts are cut to 255 characters'
);
delete from leasehold.worker;

-- The job shows its holder's host and pid.
select leasehold_test.start('work');
select leasehold.register_worker(leasehold_test.worker_id('work'), array['work'], p_host => 'build-5', p_pid => 99);
select is(
  (select (job.host, job.pid)::text from leasehold.job(leasehold_test.job_id('work')) as job), '(build-5,99)',
  'job shows where its holder runs'
);

-- The secret: a worker's id is shown to everybody, so it proves nothing.
select leasehold.register_worker('00000000-0000-4000-8000-000000000003', '{}', p_secret => '00000000-0000-4000-8000-00000000000a');
select leasehold_test.advance('20 seconds');
create temp table refused on commit drop as select leasehold_test.state();
select throws_ok(
  format('select leasehold.register_worker(''00000000-0000-4000-8000-000000000003'', ''{}'', p_secret => %L)', bad),
  '22023', null, format('S21 register_worker refuses a worker''s id with the secret %s', coalesce(bad, 'null'))
)
from unnest(array['00000000-0000-4000-8000-00000000000b', null]) as bad;
select is(leasehold_test.state(), (table refused), 'S21 and the worker is as old as before');
select lives_ok(
  $$select leasehold.register_worker('00000000-0000-4000-8000-000000000003', '{}', p_secret => '00000000-0000-4000-8000-00000000000a')$$,
  'register_worker takes the worker''s own secret'
);
select throws_ok(
  $$select leasehold.register_worker(leasehold_test.worker_id('work'), '{}', p_secret => '00000000-0000-4000-8000-00000000000a')$$,
  '22023', null, 'a worker that registered without a secret has none'
);

-- Bad arguments.
create temp table untouched on commit drop as select leasehold_test.state();
select throws_ok('select leasehold.register_worker(null, ''{}'')', '22023', null, 'register_worker refuses a null worker');
select throws_ok('select leasehold.register_worker(gen_random_uuid(), null)', '22023', null, 'register_worker refuses null queues');
select throws_ok('select leasehold.register_worker(gen_random_uuid(), array[null]::text[])', '22023', null, 'register_worker refuses a null queue');
select throws_ok(
  'select leasehold.register_worker(gen_random_uuid(), array[[''work''], [''work'']])', '22023', null,
  'register_worker refuses an array of two dimensions'
);
select throws_ok(
  'select leasehold.register_worker(gen_random_uuid(), array_fill(''work''::text, array[10001]))', '22023', null,
  'register_worker refuses more than 10000 queues'
);
select throws_ok(
  format('select leasehold.register_worker(gen_random_uuid(), ''{}'', %s)', bad), '22023', null, format('register_worker refuses a concurrency of %s', bad)
)
from unnest(array[0, -1, 100001]) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.register_worker(gen_random_uuid(), ''{}'')', 'LH007', null,
  'register_worker refuses a read-only transaction'
);
select is(leasehold_test.state(), (table untouched), 'a call that is refused changes no row');

select * from finish();
rollback;
