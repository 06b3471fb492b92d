-- redrive: dead jobs are put back in line as a new generation that keeps its history.
begin;
select plan(47);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.kill(p_name text)
  returns void
  language plpgsql
as $$
begin
  perform leasehold_test.start(p_name);
  perform leasehold.dead_letter(leasehold_test.job_id(p_name), leasehold_test.token(p_name), 'gave up');
end;
$$;

-- The ordinary case: a job that has spent all it had.
select leasehold.create_queue('spent', p_max_failures => 2, p_max_losses => 2, p_time_to_live => '1 hour');
select leasehold_test.start('spent');
select leasehold.heartbeat(leasehold_test.job_id('spent'), leasehold_test.token('spent'), p_checkpoint => '{"at": 3}');
select leasehold.fail(leasehold_test.job_id('spent'), leasehold_test.token('spent'), 'one', '0');
select leasehold_test.take_over('spent 2', 'spent');
select leasehold_test.reap();
select leasehold_test.take_over('spent 3', 'spent');
select leasehold.release(leasehold_test.job_id('spent 3'), leasehold_test.token('spent 3'));
select leasehold_test.take_over('spent 4', 'spent');
select leasehold.fail(leasehold_test.job_id('spent 4'), leasehold_test.token('spent 4'), 'two', '0');
select is(
  (select (state, failures, losses, releases, attempt)::text from leasehold.job(leasehold_test.job_id('spent'))), '(dead,2,1,1,4)', 'the job is dead'
);
select is(
  (leasehold.fail(leasehold_test.job_id('spent 4'), leasehold_test.token('spent 4'))).status, 'already_dead',
  'the failure that made it dead is answered with that when it is repeated (G5)'
);
delete from leasehold_test.woken;
select results_eq(
  'select leasehold.redrive(array[leasehold_test.job_id(''spent'')])', 'select leasehold_test.job_id(''spent'')',
  'redrive answers with the jobs it put back'
);
select is(
  (select (state, generation, failures, losses, releases, attempt, live_until, checkpoint, jsonb_array_length(history), payload)::text
    from leasehold.job(leasehold_test.job_id('spent'))),
  '(ready,2,0,0,0,4,,"{""at"": 3}",4,"""spent""")',
  'a redriven job has all its budgets and no time to live, and keeps its attempts, history, checkpoint and payload'
);
select is(leasehold_test.woken(), array['spent'], 'redrive wakes the workers of the queue');
create temp table before on commit drop as select leasehold_test.state();
select is_empty('select leasehold.redrive(array[leasehold_test.job_id(''spent'')])', 'redrive again puts nothing back (G5)');
select is(leasehold_test.state(), (table before), 'a repeat of redrive changes nothing (G5)');
select is(
  (leasehold.fail(leasehold_test.job_id('spent 4'), leasehold_test.token('spent 4'))).status, 'already_failed',
  'S23 after a redrive it is a failure like any other'
);
select is(leasehold_test.state(), (table before), 'S23 and changes nothing (G5)');
drop table before;
select leasehold_test.take_over('spent 5', 'spent');
select is(
  (select (attempt, jsonb_array_length(history))::text from leasehold.job(leasehold_test.job_id('spent'))), '(5,4)',
  'attempts go on counting after a redrive'
);
select leasehold.fail(leasehold_test.job_id('spent 5'), leasehold_test.token('spent 5'), 'three', '0');
select is(leasehold_test.state_of('spent'), 'ready', 'a redriven job may fail again as often as a fresh one (G8)');
select throws_ok(
  'select leasehold.heartbeat(leasehold_test.job_id(''spent 4''), leasehold_test.token(''spent 4''))', 'LH001', null,
  'redrive does not bring old tokens back (G4)'
);
select leasehold_test.take_over('spent 6', 'spent');
select leasehold.dead_letter(leasehold_test.job_id('spent 6'), leasehold_test.token('spent 6'));
select leasehold.redrive(array[leasehold_test.job_id('spent')]);
select is((leasehold.job(leasehold_test.job_id('spent'))).generation, 3, 'each redrive begins a generation');

-- A reaped job that died is not taken back by its old token after a redrive.
select leasehold.create_queue('poison', p_max_losses => 1);
select leasehold_test.start('poison');
-- The second time the loss that is the last is final.
select leasehold_test.reap();
select leasehold_test.reap();
select leasehold.redrive(array[leasehold_test.job_id('poison')]);
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''poison''), leasehold_test.token(''poison''))', 'LH001', null,
  'a token whose job the reaper made dead is not honoured after a redrive (G4)'
);

-- Several, and only dead ones.
select pg_temp.kill(name) from unnest(array['a', 'b', 'c']) as name;
select leasehold_test.start('leased');
select leasehold_test.start('completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
select leasehold_test.start('cancelled');
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select leasehold.release(leasehold_test.job_id('cancelled'), leasehold_test.token('cancelled'));
delete from leasehold_test.woken;
select set_eq(
  $$select leasehold.redrive(array[
    leasehold_test.job_id('b'), leasehold_test.job_id('leased'), leasehold_test.job_id('completed'), leasehold_test.job_id('a'),
    leasehold_test.job_id('cancelled'), leasehold_test.job_id('a'), 9223372036854775807
  ])$$,
  $$values (leasehold_test.job_id('a')), (leasehold_test.job_id('b'))$$,
  'redrive puts dead jobs back once and leaves all others alone'
);
select is(
  (select array_agg(leasehold_test.state_of(name) order by name) from unnest(array['a', 'b', 'c', 'leased', 'completed', 'cancelled']) as name),
  array['ready', 'ready', 'dead', 'cancelled', 'completed', 'leased'], 'jobs that are not named, or not dead, stay what they are'
);

-- A queue's.
select leasehold.create_queue('bulk');
select leasehold.enqueue('bulk', to_jsonb(n)) from generate_series(1, 5) as n;
select leasehold.dead_letter(leased.job_id, leased.token) from leasehold.lease_jobs(array['bulk'], gen_random_uuid(), 5) as leased;
select is(
  array(select job.payload::text from leasehold.redrive(p_queue => 'bulk', p_limit => 2) as id cross join lateral leasehold.job(id) as job order by id),
  array['1', '2'], 'redrive of a queue puts as many back as its limit says, the oldest first'
);
select is((select count(*)::integer from leasehold.redrive(p_queue => 'bulk')), 3, 'redrive of a queue puts the rest back');
select is(leasehold_test.state_of('c'), 'dead', 'redrive of a queue leaves other queues alone');
select is_empty('select leasehold.redrive(p_queue => ''bulk'')', 'redrive of a queue without dead jobs puts nothing back');
select is_empty('select leasehold.redrive(''{}''::bigint[])', 'redrive of no jobs puts nothing back');

-- Of the jobs of one dedup key one lives.
create function pg_temp.kill_keyed(p_key text)
  returns bigint
  language plpgsql
as $$
declare
  v_job_id bigint;
begin
  perform leasehold.create_queue(p_key);
  v_job_id := leasehold.enqueue(p_key, '1', p_dedup_key => p_key, p_dedup_window => '0');
  perform leasehold.dead_letter(leased.job_id, leased.token) from leasehold.lease_jobs(array[p_key], gen_random_uuid()) as leased;
  return v_job_id;
end;
$$;
create temp table dead as select 'free' as key, pg_temp.kill_keyed('free') as job_id;
delete from leasehold.dedup;
select is(array(select leasehold.redrive(array[job_id]) from dead where key = 'free'), array(select job_id from dead), 'S23 redrive puts a job back whose key is free');
select is(
  leasehold.enqueue('free', '2', p_dedup_key => 'free'), (select job_id from dead where key = 'free'), 'S23 and the key is its own again: enqueue answers with it'
);
insert into dead select 'own', pg_temp.kill_keyed('own');
select leasehold.redrive((select array_agg(job_id) from dead where key = 'own'));
select is(leasehold.enqueue('own', '2', p_dedup_key => 'own'), (select job_id from dead where key = 'own'), 'S23 a job that had its key still keeps it');
insert into dead select 'taken', pg_temp.kill_keyed('taken');
select leasehold.enqueue('taken', '2', p_dedup_key => 'taken') as job_id into temp table heir;
select is_empty(
  $$select leasehold.redrive((select array_agg(job_id) from dead where key = 'taken'))$$, 'S23 redrive leaves a job alone whose key another live job has'
);
select is((leasehold.job((select job_id from dead where key = 'taken'))).state, 'dead', 'S23 which stays dead');
select is_empty($$select leasehold.redrive(p_queue => 'taken', p_limit => 1)$$, 'S23 by its queue as well');
select leasehold.cancel((table heir));
select is(
  array(select leasehold.redrive(p_queue => 'taken')), (select array_agg(job_id) from dead where key = 'taken'), 'S23 until the other has ended'
);
insert into dead select 'twice', pg_temp.kill_keyed('twice');
insert into dead select 'twice', pg_temp.kill_keyed('twice');
select is(
  array(select leasehold.redrive(p_queue => 'twice')), (select array[min(job_id)] from dead where key = 'twice'), 'S23 of two dead jobs of one key the first is put back'
);

-- Generations have no end.
select pg_temp.kill('old');
update leasehold.job set generation = 32767 where job_id = leasehold_test.job_id('old');
select leasehold.redrive(array[leasehold_test.job_id('old')]);
select is((leasehold.job(leasehold_test.job_id('old'))).generation, 32768, 'S23 a generation follows the 32,767th');

-- Bad arguments.
create temp table before on commit drop as select leasehold_test.state();
select throws_ok('select leasehold.redrive()', '22023', null, 'redrive refuses to be told nothing');
select throws_ok('select leasehold.redrive(array[1], ''bulk'')', '22023', null, 'redrive refuses ids and a queue at once');
select throws_ok('select leasehold.redrive(array[leasehold_test.job_id(''c''), null])', '22023', null, 'redrive refuses a null id');
select throws_ok('select leasehold.redrive(array[[leasehold_test.job_id(''c'')]])', '22023', null, 'redrive refuses an array of two dimensions');
select throws_ok('select leasehold.redrive(array[1, 2], p_limit => 1)', '22023', null, 'redrive refuses more ids than its limit');
select throws_ok('select leasehold.redrive(p_queue => ''nowhere'')', 'LH005', null, 'redrive refuses an unknown queue');
select throws_ok(
  format('select leasehold.redrive(p_queue => ''bulk'', p_limit => %L)', bad), '22023', null, format('redrive refuses a limit of %s', coalesce(bad::text, 'null'))
)
from unnest(array[0, -1, 10001, 2147483647, null]) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.redrive(p_queue => ''bulk'')', 'LH007', null,
  'redrive refuses a read-only transaction'
);
select is(leasehold_test.state(), (table before), 'a call that is refused changes no row');

select leasehold.create_queue('dropped');
create temp table in_dropped as
  select lease.job_id, lease.token
  from (select leasehold.enqueue('dropped', '1')) as job
  cross join lateral leasehold.lease_jobs(array['dropped'], gen_random_uuid()) as lease;
select leasehold.dead_letter(job_id, token) from in_dropped;
select leasehold.drop_queue('dropped');
select is_empty(
  $$select leasehold.redrive((select array_agg(job_id) from in_dropped))$$,
  'redrive leaves the jobs of a dropped queue alone'
);

-- Lapses of the generation before.
select leasehold.create_queue('lapsed', p_max_losses => 9);
select leasehold.enqueue('lapsed', '1');
create function pg_temp.register()
  returns integer[]
  language sql
as $$
  select leasehold.register_worker(
    '00000000-0000-4000-8000-000000000011', array['lapsed'], p_secret => '00000000-0000-4000-8000-000000000012'
  )
$$;
create function pg_temp.lapsed()
  returns text
  language sql
as $$
  select (ready.losses, ready.suspect)::text
  from leasehold.ready as ready
  join leasehold.queue as queue on queue.queue_id = ready.queue_id
  where queue.name = 'lapsed'
$$;
create function pg_temp.vanish(p_worker text)
  returns text
  language plpgsql
as $$
begin
  perform leasehold.lease_jobs(array['lapsed'], p_worker::uuid);
  perform leasehold_test.reap();
  return pg_temp.lapsed();
end;
$$;
select pg_temp.register();
select is(
  array(select pg_temp.vanish('00000000-0000-4000-8000-000000000011') from generate_series(1, 2)),
  array['(1,f)', '(2,t)'], 'a job is lost twice'
);
select leasehold_test.take_over('lapsed', 'lapsed');
select leasehold.dead_letter(leasehold_test.job_id('lapsed'), leasehold_test.token('lapsed'));
select leasehold.redrive(p_queue => 'lapsed');
select is(
  pg_temp.vanish('00000000-0000-4000-8000-000000000013'), '(1,f)', 'S11 lapses of the generation before make no suspect'
);
select pg_temp.register();
select is(pg_temp.lapsed(), '(1,f)', 'S15 of what a new generation was charged nothing is taken back for the one before');

select * from finish();
rollback;
