-- dead_letter_many: a worker gives many jobs up in one call; each item is judged alone.
begin;
select plan(19);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.give_up(p_names text[], p_reasons text[] default null)
  returns text[]
  language sql
as $$
  select array_agg((settlement.status, settlement.late)::text order by ordinality)
  from leasehold.dead_letter_many(
    array(select leasehold_test.job_id(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    array(select leasehold_test.token(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    p_reasons
  ) with ordinality as settlement
$$;

create function pg_temp.job(p_name text)
  returns text
  language sql
as $$
  select (job.state, job.reason, job.failures, job.losses)::text
  from leasehold.job(leasehold_test.job_id(p_name)) as job
$$;

-- The ordinary case.
select leasehold_test.start(name) from unnest(array['a', 'b', 'c']) as name;
delete from leasehold_test.woken;
select is(
  pg_temp.give_up(array['b', 'a', 'c'], array['no video', null, repeat('x', 100000)]),
  array['(dead,f)', '(dead,f)', '(dead,f)'],
  'dead_letter_many answers in the order of the batch'
);
select is(
  array[pg_temp.job('a'), pg_temp.job('b')],
  array['(dead,dead_lettered,0,0)', '(dead,"no video",0,0)'],
  'dead_letter_many keeps each reason and spends no budget (G8)'
);
select is(
  length((leasehold.job(leasehold_test.job_id('c'))).reason), 16384,
  'dead_letter_many cuts a reason to 16384 characters'
);
select is(leasehold_test.woken(), '{}', 'dead_letter_many wakes nobody');

-- A repeat (G5).
create temp table before on commit drop as select leasehold_test.state();
select is(
  pg_temp.give_up(array['a', 'b'], array['other', 'other']),
  array['(already_dead,f)', '(already_dead,f)'], 'a repeat of dead_letter_many answers already_dead (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat of dead_letter_many changes nothing (G5)');
drop table before;

-- Every fate in one batch.
select leasehold_test.start('done');
select leasehold.complete(leasehold_test.job_id('done'), leasehold_test.token('done'));
select leasehold_test.lose('lost');
select leasehold_test.start('held');
insert into leasehold_test.held values
  ('missing', 9223372036854775807, gen_random_uuid(), gen_random_uuid());
select is(
  pg_temp.give_up(array['done', 'lost', 'held', 'held', 'missing'], array['1', '2', '3', '4', '5']),
  array['(already_completed,f)', '(lease_lost,f)', '(dead,f)', '(already_dead,f)', '(job_not_found,f)'],
  'dead_letter_many judges each item alone'
);
select is(pg_temp.job('held'), '(dead,3,0,0)', 'of two equal items in one batch the first reason stays');
select is(leasehold_test.state_of('lost'), 'leased', 'a stale item leaves the new lease alone (G3)');

-- A reaped lease that nobody took since (G4).
select leasehold_test.start('reaped');
select leasehold_test.reap();
select is(pg_temp.give_up(array['reaped']), array['(dead,t)'], 'dead_letter_many takes a reaped lease for one that is held (G4)');
select is(pg_temp.job('reaped'), '(dead,dead_lettered,0,0)', 'and takes back its loss');

-- Bad arguments.
select leasehold_test.start('present');
create temp table before on commit drop as select leasehold_test.state();
select is_empty($$select leasehold.dead_letter_many('{}', '{}')$$, 'dead_letter_many of nothing answers nothing');
select throws_ok($$select leasehold.dead_letter_many(null, '{}')$$, '22023', null, 'dead_letter_many refuses null job ids');
select throws_ok($$select leasehold.dead_letter_many('{}', null)$$, '22023', null, 'dead_letter_many refuses null tokens');
select throws_ok(
  $$select leasehold.dead_letter_many(array[leasehold_test.job_id('present'), null],
    array[leasehold_test.token('present'), gen_random_uuid()])$$,
  '22023', null, 'dead_letter_many refuses a null member'
);
select throws_ok(
  $$select leasehold.dead_letter_many(array[leasehold_test.job_id('present')],
    array[leasehold_test.token('present')], '{}')$$,
  '22023', null, 'dead_letter_many refuses fewer reasons than job ids'
);
select throws_ok(
  $$select leasehold.dead_letter_many(array_fill(1::bigint, array[10001]),
    array_fill(gen_random_uuid(), array[10001]))$$,
  '22023', null, 'dead_letter_many refuses more than 10000 items'
);
select throws_ok(
  $$set local transaction_read_only = on; select leasehold.dead_letter_many('{}', '{}')$$,
  'LH007', null, 'dead_letter_many refuses a read-only transaction'
);
select is(leasehold_test.state(), (table before), 'a batch that is refused changes no row');

select * from finish();
rollback;
