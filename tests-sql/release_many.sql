-- release_many: a worker hands back what it has not begun, in one call; each item is judged alone.
begin;
select plan(31);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.release(p_names text[], p_delays interval[] default null)
  returns text[]
  language sql
as $$
  select array_agg((settlement.status, settlement.retry_in)::text order by ordinality)
  from leasehold.release_many(
    array(select leasehold_test.job_id(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    array(select leasehold_test.token(name) from unnest(p_names) with ordinality as t (name, n) order by n),
    p_delays
  ) with ordinality as settlement
$$;

create function pg_temp.job(p_name text)
  returns text
  language sql
as $$
  select (job.state, job.failures, job.losses, job.releases)::text
  from leasehold.job(leasehold_test.job_id(p_name)) as job
$$;

-- The ordinary case.
select leasehold_test.start(name) from unnest(array['a', 'b', 'c']) as name;
delete from leasehold_test.woken;
select is(
  pg_temp.release(array['b', 'a', 'c'], array[null, '90 seconds', '0']::interval[]),
  array['(released,00:00:00)', '(released,00:01:30)', '(released,00:00:00)'],
  'release_many answers in the order of the batch'
);
select is(
  (select array_agg(pg_temp.job(name) order by name) from unnest(array['a', 'b', 'c']) as name),
  array['(scheduled,0,0,1)', '(ready,0,0,1)', '(ready,0,0,1)'],
  'a release spends neither a failure nor a loss, and waits for its delay (G8)'
);
select bag_eq(
  'select unnest(leasehold_test.woken())', $$values ('b'), ('c')$$,
  'release_many wakes those who could take what is ready'
);

-- A repeat (G5).
create temp table before on commit drop as select leasehold_test.state();
select is(
  pg_temp.release(array['a', 'c'], array['1 hour', '1 hour']::interval[]),
  array['(already_released,)', '(already_released,)'], 'a repeat of release_many answers already_released (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat of release_many changes nothing (G5)');
drop table before;

-- Every fate in one batch.
select leasehold_test.start('done');
select leasehold.complete(leasehold_test.job_id('done'), leasehold_test.token('done'));
select leasehold_test.start('asked');
select leasehold.cancel(leasehold_test.job_id('asked'), 'enough');
select leasehold_test.start('held');
select leasehold_test.start('stolen');
select leasehold_test.start('expired');
select leasehold_test.lapse();
select leasehold_test.take_over('b again', 'b');
select is(
  pg_temp.release(array['done', 'asked', 'b', 'held', 'held', 'expired']),
  array[
    '(already_completed,)', '(cancelled,)', '(already_released,)', '(released,00:00:00)', '(already_released,00:00:00)',
    '(released,00:00:00)'
  ],
  'release_many judges each item alone'
);
select is(leasehold_test.state_of('b'), 'leased', 'a stale item leaves the new lease alone (G3)');
select is(leasehold_test.state_of('asked'), 'cancelled', 'a job whose cancel was asked for is cancelled');
select is(
  (select array_agg(status) from leasehold.release_many(
    array[leasehold_test.job_id('stolen'), 9223372036854775807], array[gen_random_uuid(), gen_random_uuid()])),
  array['lease_lost', 'job_not_found'], 'release_many answers a token that is not the newest and a job that is not there'
);
select throws_ok(
  $$select leasehold.heartbeat(leasehold_test.job_id('held'), leasehold_test.token('held'))$$, 'LH001', null,
  'release_many retires its tokens: a heartbeat cannot take a job back (G4)'
);

-- A reaped lease that nobody took since (G4).
select leasehold_test.start('reaped');
select leasehold_test.reap();
select is(pg_temp.release(array['reaped']), array['(released,00:00:00)'], 'release_many takes a reaped lease for one that is held (G4)');
select is(pg_temp.job('reaped'), '(ready,0,0,1)', 'and takes back its loss');

-- A handler that only ever releases.
create function pg_temp.again(p_name text, p_times integer, p_held interval default '1 second')
  returns text[]
  language plpgsql
as $$
declare
  v_leased leasehold.leased_job;
  v_waits text[] := '{}';
  v_retry_in interval;
begin
  for n in 1 .. p_times loop
    select leased.* into v_leased from leasehold.lease_jobs(array[p_name], gen_random_uuid()) as leased;
    perform leasehold_test.advance(p_held);
    select settlement.retry_in into v_retry_in
    from leasehold.release_many(array[v_leased.job_id], array[v_leased.token]) as settlement;
    v_waits := v_waits || (v_retry_in > interval '0')::text;
    perform leasehold_test.advance(v_retry_in);
    perform leasehold.promote_due();
  end loop;
  return v_waits;
end;
$$;
select leasehold.create_queue('again', p_backoff_max => '10 minutes');
select leasehold.enqueue('again', '1') as job_id into temp table again;
select is(
  (select array_agg(distinct wait) from unnest(pg_temp.again('again', 50)) as wait), array['false'],
  'S40 fifty releases in a row, of deploys say, cost no time'
);
select leasehold._now() as at into temp table fifty;
select is(
  (select array_agg(distinct wait) from unnest(pg_temp.again('again', 15)) as wait), array['true'],
  'S40 from then on each that comes within a minute of its lease waits'
);
select ok(
  leasehold._now() - (select at from fifty) between interval '2 minutes' and interval '2 hours',
  'S40 the wait grows, to minutes after fifteen, and no further than the queue says'
);
select is(pg_temp.again('again', 1, '61 seconds'), array['false'], 'S40 one that had its lease for a minute does not wait');
select is(pg_temp.again('again', 2), array['false', 'false'], 'S40 … and the row begins anew');
select is((select (failures, losses, releases)::text from leasehold.job((table again))), '(0,0,68)', 'S40 all of them stay free of charge');
select pg_temp.again('again', 45);
select is((select count(*)::integer from leasehold.attempt where job_id = (table again)), 100, 'S40 of its attempts the last hundred are kept');
select is(
  (select array_agg(distinct settlement.status)
    from (select attempt.token from leasehold.attempt as attempt where attempt.job_id = (table again)) as kept
    cross join lateral leasehold.release_many(array[(table again)], array[kept.token]) as settlement),
  array['already_released'], 'S40 and these answer repeated calls (G5)'
);
select leasehold_test.start('failed once');
select leasehold.fail(leasehold_test.job_id('failed once'), leasehold_test.token('failed once'), 'on purpose', '0');
select pg_temp.again((select queue from leasehold.job(leasehold_test.job_id('failed once'))), 110);
select is(
  (select array_agg(outcome) from leasehold.attempt where job_id = leasehold_test.job_id('failed once') and counted),
  array['failed'], 'S40 an attempt that spent a failure is kept, however many releases follow'
);

-- Bad arguments.
select leasehold_test.start('present');
create temp table before on commit drop as select leasehold_test.state();
select is_empty($$select leasehold.release_many('{}', '{}')$$, 'release_many of nothing answers nothing');
select throws_ok($$select leasehold.release_many(null, '{}')$$, '22023', null, 'release_many refuses null job ids');
select throws_ok($$select leasehold.release_many('{}', null)$$, '22023', null, 'release_many refuses null tokens');
select throws_ok(
  $$select leasehold.release_many(array[leasehold_test.job_id('present'), null],
    array[leasehold_test.token('present'), gen_random_uuid()])$$,
  '22023', null, 'release_many refuses a null member'
);
select throws_ok(
  $$select leasehold.release_many(array[leasehold_test.job_id('present')],
    array[leasehold_test.token('present')], '{}')$$,
  '22023', null, 'release_many refuses fewer delays than job ids'
);
select throws_ok(
  format($$select leasehold.release_many(array[leasehold_test.job_id('present')],
    array[leasehold_test.token('present')], array[%L]::interval[])$$, bad),
  '22023', null, format('release_many refuses a delay of %s', bad)
)
from unnest(array['-1 second', '11 years']) as bad;
select throws_ok(
  $$select leasehold.release_many(array_fill(1::bigint, array[10001]),
    array_fill(gen_random_uuid(), array[10001]))$$,
  '22023', null, 'release_many refuses more than 10000 items'
);
select throws_ok(
  $$set local transaction_read_only = on; select leasehold.release_many('{}', '{}')$$,
  'LH007', null, 'release_many refuses a read-only transaction'
);
select is(leasehold_test.state(), (table before), 'a batch that is refused changes no row');

select * from finish();
rollback;
