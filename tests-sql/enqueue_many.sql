-- enqueue_many: many jobs in one call, all or none, their ids in the order given.
begin;
select plan(58);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();
select leasehold.create_queue('work');

-- The ordinary case.
select leasehold.enqueue_many('work', '[
  {"payload": {"n": 1}},
  {"payload": "two", "headers": {"h": 1}, "priority": 0, "max_failures": 2, "max_losses": 4, "max_runtime": "PT1H"},
  {"payload": 3, "delay": "90 seconds", "time_to_live": "1 hour"},
  {"payload": 4, "run_at": "2030-01-01T13:00:00Z"},
  {"payload": null, "headers": null, "priority": null, "run_at": null, "delay": null, "dedup_key": null,
   "dedup_window": null, "max_failures": null, "max_losses": null, "max_runtime": null, "time_to_live": null}
]') as ids into temp table many;
select is(
  array(
    select (job.payload, job.state, job.headers, job.priority, job.run_at - leasehold._now(), job.live_until - leasehold._now())::text
    from many, unnest(ids) with ordinality as id (job_id, n)
    cross join lateral leasehold.job(id.job_id) as job
    order by n
  ),
  array[
    '("{""n"": 1}",ready,,5,,)', '("""two""",ready,"{""h"": 1}",0,,)', '(3,scheduled,,5,00:01:30,01:01:30)',
    '(4,scheduled,,5,01:00:00,)', '(null,ready,,5,,)'
  ],
  'enqueue_many makes each job as it is described and returns the ids in order'
);
select is(
  (select (job.max_failures, job.max_losses, job.max_runtime)::text from many join leasehold.job as job on job.job_id = ids[2]),
  '(2,4,01:00:00)', 'each job keeps its own budgets'
);
select is(leasehold_test.woken(), array['work'], 'enqueue_many wakes the workers of the queue once');
select is(leasehold.enqueue_many('work', '[]'), '{}', 'enqueue_many of no jobs returns no ids');
select is(leasehold_test.woken(), '{}', 'enqueue_many of no jobs wakes nobody');
select isnt(
  leasehold.enqueue_many('work', '[{"payload": 1}]'), leasehold.enqueue_many('work', '[{"payload": 1}]'),
  'enqueue_many without dedup keys makes other jobs each time'
);
select is(
  (select count(distinct id)::integer from unnest(leasehold.enqueue_many(
    'work', (select jsonb_agg('{"payload": 1}'::jsonb) from generate_series(1, 10000))
  )) as id),
  10000, 'enqueue_many takes 10000 jobs at once'
);

-- Dedup inside one batch and across batches (C90).
select leasehold.create_queue('dedup');
select leasehold.enqueue('dedup', '"old"', p_dedup_key => 'old') as job_id into temp table old;
select leasehold.enqueue_many('dedup', '[
  {"payload": 1, "dedup_key": "b"}, {"payload": 2}, {"payload": 3, "dedup_key": "a"}, {"payload": 4, "dedup_key": "b"},
  {"payload": 5, "dedup_key": "old"}, {"payload": 6, "dedup_key": "b"}
]') as ids into temp table deduplicated;
select is(
  (select (ids[4] = ids[1] and ids[6] = ids[1] and ids[5] = (table old) and ids[2] <> ids[1] and ids[3] <> ids[1])::text from deduplicated),
  'true', 'equal keys in one batch are one job, and a key that is taken answers with the job that has it'
);
select is(
  array(select payload::text from leasehold.peek('dedup')), array['"old"', '1', '2', '3'],
  'of equal keys in one batch the first is the job'
);
create temp table before on commit drop as select leasehold_test.state();
select is(
  leasehold.enqueue_many('dedup', '[{"payload": 9, "dedup_key": "a"}, {"payload": 9, "dedup_key": "b"}]'),
  (select array[ids[3], ids[1]] from deduplicated), 'enqueue_many with dedup keys may be repeated (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat makes no job (G5)');
drop table before;
select leasehold_test.advance('2 hours');
select leasehold.purge_queue('dedup');
select is(
  (select count(*)::integer from unnest(leasehold.enqueue_many('dedup', '[
    {"payload": 1, "dedup_key": "a"}, {"payload": 1, "dedup_key": "b", "dedup_window": "0"}
  ]')) as id cross join deduplicated where id = any (ids)),
  0, 'keys whose window has passed and whose jobs are gone are taken anew'
);

-- All or none.
create temp table before on commit drop as select leasehold_test.state();
select throws_ok(
  format('select leasehold.enqueue_many(''work'', %L)', '[{"payload": 1}, ' || job || ']'), code, null,
  format('enqueue_many refuses the job %s whole', job)
)
from (values
  ('{"payload": 1, "priority": 10}', '22023'),
  ('{"payload": 1, "priority": -1}', '22023'),
  ('{"payload": 1, "priority": 2.5}', '22P02'),
  ('{"payload": 1, "priority": "x"}', '22P02'),
  ('{"payload": 1, "priority": true}', '22P02'),
  ('{"payload": 1, "priority": {}}', '22P02'),
  ('{"payload": 1, "priority": 2147483648}', '22003'),
  ('{"payload": 1, "run_at": "soon"}', '22007'),
  ('{"payload": 1, "run_at": 1893499200}', '22008'),
  ('{"payload": 1, "run_at": "2030-02-30"}', '22008'),
  ('{"payload": 1, "run_at": "infinity"}', '22023'),
  ('{"payload": 1, "run_at": "-infinity"}', '22023'),
  ('{"payload": 1, "delay": "long"}', '22007'),
  ('{"payload": 1, "delay": "-1 second"}', '22023'),
  ('{"payload": 1, "delay": "1000000000 years"}', '22008'),
  ('{"payload": 1, "delay": "99999999999 years"}', '22015'),
  ('{"payload": 1, "delay": "11 years"}', '22023'),
  ('{"payload": 1, "run_at": "2030-01-01", "delay": "1 s"}', '22023'),
  ('{"payload": 1, "dedup_key": ""}', '22023'),
  ('{"payload": 1, "dedup_key": "k", "dedup_window": "2 years"}', '22023'),
  ('{"payload": 1, "headers": []}', '22023'),
  ('{"payload": 1, "headers": "x"}', '22023'),
  ('{"payload": 1, "max_failures": 0}', '22023'),
  ('{"payload": 1, "max_losses": 1000001}', '22023'),
  ('{"payload": 1, "max_runtime": "1 ms"}', '22023'),
  ('{"payload": 1, "time_to_live": "0"}', '22023'),
  ('{"priority": 1}', '22023'),
  ('{"payload": 1, "prioritty": 1}', '22023'),
  ('{"payload": 1, "__proto__": 1}', '22023'),
  ('null', '22023'),
  ('1', '22023'),
  ('"payload"', '22023'),
  ('["payload"]', '22023')
) as bad (job, code);
select throws_ok(
  format('select leasehold.enqueue_many(''work'', %L)', jobs), '22023', null, format('enqueue_many refuses %s instead of an array', coalesce(jobs, 'null'))
)
from unnest(array[null, 'null', '1', '"x"', '{}', '{"payload": 1}']) as jobs;
select throws_ok(
  'select leasehold.enqueue_many(''work'', (select jsonb_agg(''{"payload": 1}''::jsonb) from generate_series(1, 10001)))', '22023', null,
  'enqueue_many refuses more than 10000 jobs'
);
select throws_ok(
  'select leasehold.enqueue_many(''work'', jsonb_build_array(''{"payload": 1}''::jsonb, jsonb_build_object(''payload'', repeat(''x'', 1048575))))',
  'LH008', null, 'enqueue_many refuses a payload over the limit'
);
select throws_ok('select leasehold.enqueue_many(''nowhere'', ''[{"payload": 1}]'')', 'LH005', null, 'enqueue_many refuses an unknown queue');
select throws_ok('select leasehold.enqueue_many(''nowhere'', ''[]'')', 'LH005', null, 'enqueue_many refuses an unknown queue also for no jobs');
select throws_ok('select leasehold.enqueue_many(null, ''[]'')', '22023', null, 'enqueue_many refuses a null queue');
select throws_ok(
  'set local transaction_read_only = on; select leasehold.enqueue_many(''work'', ''[]'')', 'LH007', null,
  'enqueue_many refuses a read-only transaction'
);
select is(leasehold_test.state(), (table before), 'a batch that is refused makes no job at all');

select * from finish();
rollback;
