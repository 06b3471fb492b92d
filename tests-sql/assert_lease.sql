-- assert_lease: the effects of a job commit only together with a lease that is still held.
begin;
select plan(23);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

create function pg_temp.assert_lease(p_name text)
  returns text
  language sql
as $$
  select leasehold.assert_lease(leasehold_test.job_id(p_name), leasehold_test.token(p_name))::text
$$;

-- The ordinary case.
select leasehold_test.start('plain');
create temp table before on commit drop as select leasehold_test.state();
select lives_ok($$select pg_temp.assert_lease('plain')$$, 'assert_lease passes for the holder (G11)');
select lives_ok($$select pg_temp.assert_lease('plain')$$, 'assert_lease may be repeated (G5)');
select is(leasehold_test.state(), (table before), 'assert_lease changes nothing');
select is(
  (leasehold.complete(leasehold_test.job_id('plain'), leasehold_test.token('plain'))).status, 'completed',
  'complete joins the transaction that asserted the lease (G11)'
);
select throws_ok(
  $$select pg_temp.assert_lease('plain')$$, 'LH004', format('job %s is finished', leasehold_test.job_id('plain')),
  'assert_lease refuses a job that its holder has completed'
);

-- Late, but nobody was quicker (G4).
select leasehold_test.start('late');
select leasehold_test.lapse();
select lives_ok($$select pg_temp.assert_lease('late')$$, 'assert_lease passes for a lease that has expired while nobody has the job (G4)');
select leasehold_test.start('reaped');
select leasehold_test.reap();
select lives_ok($$select pg_temp.assert_lease('reaped')$$, 'assert_lease takes a reaped lease back while nobody has leased the job since (G4)');
select is(
  (select (job.state, job.losses, job.history)::text from leasehold.job(leasehold_test.job_id('reaped')) as job),
  '(leased,0,)', 'the loss that the reaper counted is taken back'
);
select is_empty(
  'select leasehold.lease_jobs(array[''reaped''], gen_random_uuid())',
  'nobody can lease a job whose lease was asserted (G11)'
);

-- A zombie's effects are undone (G11, C31).
create temp table effect (n integer) on commit drop;
select leasehold_test.lose('lost');
select throws_ok(
  $$insert into effect values (1); select pg_temp.assert_lease('lost')$$,
  'LH001', format('lease on job %s is lost', leasehold_test.job_id('lost')),
  'assert_lease refuses a token once another worker has leased the job (G4)'
);
select is_empty('table effect', 'what the transaction wrote before assert_lease raised is gone (G11)');
select throws_ok(
  'select leasehold.assert_lease(leasehold_test.job_id(''lost''), gen_random_uuid())', 'LH001', null,
  'assert_lease refuses a token that was never granted (G3)'
);
select throws_ok(
  'select leasehold.assert_lease(leasehold_test.job_id(''lost''), leasehold_test.token(''late''))', 'LH001', null,
  'assert_lease refuses the token of another job (G3)'
);
select leasehold_test.start('released');
select leasehold.release(leasehold_test.job_id('released'), leasehold_test.token('released'));
select throws_ok($$select pg_temp.assert_lease('released')$$, 'LH001', null, 'assert_lease refuses a token that release has retired (G4)');
select leasehold_test.start('failed');
select leasehold.fail(leasehold_test.job_id('failed'), leasehold_test.token('failed'));
select throws_ok($$select pg_temp.assert_lease('failed')$$, 'LH001', null, 'assert_lease refuses a token that fail has retired (G4)');
select leasehold_test.start('dead');
select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
select throws_ok($$select pg_temp.assert_lease('dead')$$, 'LH004', null, 'assert_lease refuses a dead job');
select leasehold_test.start('cancelled');
select leasehold_test.reap();
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select throws_ok(
  $$select pg_temp.assert_lease('cancelled')$$, 'LH003', format('job %s is cancelled', leasehold_test.job_id('cancelled')),
  'assert_lease refuses a cancelled job'
);
select leasehold_test.start('cancelling');
select leasehold.cancel(leasehold_test.job_id('cancelling'));
select lives_ok($$select pg_temp.assert_lease('cancelling')$$, 'assert_lease passes while a cancel is only asked for');

-- Bad arguments.
select throws_ok('select leasehold.assert_lease(9223372036854775807, gen_random_uuid())', 'LH002', null, 'assert_lease refuses a job that does not exist');
select throws_ok('select leasehold.assert_lease(null, gen_random_uuid())', '22023', null, 'assert_lease refuses a null job id');
select throws_ok('select leasehold.assert_lease(leasehold_test.job_id(''late''), null)', '22023', null, 'assert_lease refuses a null token');
select throws_ok(
  'set local transaction_read_only = on; select pg_temp.assert_lease(''late'')', 'LH007', null,
  'assert_lease refuses a read-only transaction'
);

select leasehold_test.start('answers');
select is(
  leasehold.assert_lease(leasehold_test.job_id('answers'), leasehold_test.token('answers')), true,
  'S39 assert_lease returns true'
);

select * from finish();
rollback;
