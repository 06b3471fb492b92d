-- enqueue: a job exists if and only if the caller's transaction commits, and once for a dedup key.
begin;
select plan(92);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();
select leasehold.create_queue('work');

create function pg_temp.job(p_job_id bigint)
  returns text
  language sql
as $$
  select (job.state, job.priority, job.run_at - leasehold._now(), job.live_until - leasehold._now())::text
  from leasehold.job(p_job_id) as job
$$;

-- The ordinary case.
select leasehold.enqueue('work', '{"file": "a.mp4"}') as job_id into temp table plain;
select is(pg_temp.job(job_id), '(ready,5,,)', 'enqueue makes a job that may run now, of priority 5, for ever') from plain;
select is(
  (select (job.queue, job.payload, job.headers, job.generation, job.attempt, job.failures, job.losses, job.releases,
      job.enqueued_at = leasehold._now())::text from leasehold.job(job_id) as job),
  '(work,"{""file"": ""a.mp4""}",,1,0,0,0,0,t)', 'a fresh job has spent nothing'
) from plain;
select is(leasehold_test.woken(), array['work'], 'enqueue wakes the workers of the queue');
select isnt(
  leasehold.enqueue('work', '{"file": "a.mp4"}'), (table plain), 'enqueue without a dedup key makes another job each time'
);

-- Rolled back (G1, C91).
create temp table before on commit drop as select leasehold_test.state();
savepoint undone;
select leasehold.enqueue('work', '1', p_dedup_key => 'undone');
rollback to savepoint undone;
select is(leasehold_test.state(), (table before), 'a job whose transaction rolls back does not exist');
delete from leasehold_test.woken;

-- When.
select is(pg_temp.job(leasehold.enqueue('work', '1', p_run_at => '2030-01-01 13:00:00Z')), '(scheduled,5,01:00:00,)', 'a job with run_at waits for it');
select is(leasehold_test.woken(), '{}', 'a job for later wakes nobody');
select is(pg_temp.job(leasehold.enqueue('work', '1', p_delay => '90 seconds')), '(scheduled,5,00:01:30,)', 'a job with a delay waits for it');
select is(pg_temp.job(leasehold.enqueue('work', '1', p_run_at => leasehold._now())), '(ready,5,,)', 'a job that is due this instant is ready');
select is(pg_temp.job(leasehold.enqueue('work', '1', p_delay => '0')), '(ready,5,,)', 'a job without delay is ready');
select is(pg_temp.job(leasehold.enqueue('work', '1', p_run_at => '4713-01-01 BC')), '(ready,5,,)', 'a job that was due long ago is ready');
select is((leasehold.job(leasehold.enqueue('work', '1', p_run_at => '294276-01-01'))).state, 'scheduled', 'a job may wait for the end of time');

-- Priority.
select is(pg_temp.job(leasehold.enqueue('work', '1', p_priority => p)), format('(ready,%s,,)', p), format('enqueue takes priority %s', p))
from unnest(array[0, 9]) as p;
select throws_ok(
  format('select leasehold.enqueue(''work'', ''1'', p_priority => %s)', coalesce(p::text, 'null')), '22023', null,
  format('enqueue refuses priority %s', coalesce(p::text, 'null'))
)
from unnest(array[-1, 10, 2147483647, null]) as p;

-- Time to live.
select is(pg_temp.job(leasehold.enqueue('work', '1', p_time_to_live => '1 hour')), '(ready,5,,01:00:00)', 'the time to live counts from now for a job that is due');
select is(
  pg_temp.job(leasehold.enqueue('work', '1', p_delay => '1 hour', p_time_to_live => '1 hour')), '(scheduled,5,01:00:00,02:00:00)',
  'the time to live of a job for later counts from when it is due'
);
select is(
  pg_temp.job(leasehold.enqueue('work', '1', p_run_at => '2029-01-01', p_time_to_live => '1 hour')), '(ready,5,,01:00:00)',
  'the time to live of a job that was due before counts from now'
);
select leasehold.create_queue('mortal', p_time_to_live => '10 minutes');
select is(pg_temp.job(leasehold.enqueue('mortal', '1')), '(ready,5,,00:10:00)', 'a job takes its queue''s time to live');
select is(pg_temp.job(leasehold.enqueue('mortal', '1', p_time_to_live => '1 minute')), '(ready,5,,00:01:00)', 'a job''s own time to live comes first');

-- Payload and headers go down and come up as they are.
select is(
  (leasehold.job(leasehold.enqueue('work', payload))).payload::text, payload::text, format('the payload %s comes back as it is', left(payload::text, 30))
)
from unnest(array[
  'null', '""', '[]', '{}', '1', 'true', '-0', '12345678901234567890', '1e400', '"\ud83d\ude00"', '{"__proto__": 1, "constructor": {}}'
]::jsonb[]) as payload;
select is(
  (leasehold.job(leasehold.enqueue('work', '1', p_headers => '{"trace": "x"}'))).headers, '{"trace": "x"}', 'headers come back as they are'
);
select is(
  (leasehold.job(leasehold.enqueue('work', to_jsonb(repeat('x', 1048574))))).state, 'ready', 'enqueue takes a payload of 1 MiB'
);
create temp table untouched on commit drop as select leasehold_test.state();
select throws_ok(
  'select leasehold.enqueue(''work'', to_jsonb(repeat(''x'', 1048575)))', 'LH008',
  'payload and headers must each be at most 1048576 bytes as text, got 1048577', 'enqueue refuses a payload of one byte more'
);
select throws_ok(
  'select leasehold.enqueue(''work'', ''1'', p_headers => jsonb_build_object(''x'', repeat(''x'', 1048576)))', 'LH008', null,
  'enqueue refuses headers over 1 MiB'
);
select throws_ok(
  'select leasehold.enqueue(''work'', jsonb_build_array(''1e131071''::numeric, ''1e131071''::numeric, ''1e131071''::numeric,
    ''1e131071''::numeric, ''1e131071''::numeric, ''1e131071''::numeric, ''1e131071''::numeric, ''1e131071''::numeric, 1))',
  'LH008', null, 'enqueue measures a payload as the text that the worker gets'
);
select leasehold.create_queue('small', p_max_payload_bytes => 10);
select lives_ok($$select leasehold.enqueue('small', '"12345678"')$$, 'a queue may set its own limit');
select throws_ok($$select leasehold.enqueue('small', '"123456789"')$$, 'LH008', null, 'a queue''s own limit is kept');
select throws_ok(
  format('select leasehold.enqueue(''work'', ''1'', p_headers => %L)', headers), '22023', null, format('enqueue refuses headers that are %s', headers)
)
from unnest(array['null', '1', '"x"', '[]']) as headers;

-- Budgets of the job's own.
select leasehold.create_queue('budgets');
select leasehold.enqueue('budgets', '1', p_max_runtime => '2 hours');
select is((select max_runtime from leasehold.lease_jobs(array['budgets'], gen_random_uuid())), '2 hours', 'a job''s own longest runtime comes with its lease');

-- Dedup: one live job a key (C90).
select leasehold.create_queue('dedup');
delete from leasehold_test.woken;
select leasehold.enqueue('dedup', '1', p_dedup_key => 'k') as job_id into temp table first;
delete from leasehold_test.woken;
create temp table deduplicated on commit drop as select leasehold_test.state();
select is(leasehold.enqueue('dedup', '2', p_dedup_key => 'k'), (table first), 'enqueue with a taken key returns the job that took it (G5)');
select is(leasehold_test.state(), (table deduplicated), 'enqueue with a taken key changes nothing (G5)');
select is(leasehold_test.woken(), '{}', 'enqueue with a taken key wakes nobody');
select isnt(leasehold.enqueue('dedup', '1', p_dedup_key => 'K'), (table first), 'keys that differ in case are different');
select isnt(leasehold.enqueue('work', '1', p_dedup_key => 'k'), (table first), 'a key belongs to its queue');
select leasehold_test.advance('2 hours');
select is(leasehold.enqueue('dedup', '2', p_dedup_key => 'k'), (table first), 'a key stays taken after its window while its job is ready');
select leasehold_test.take_over('dedup', 'dedup');
select is(leasehold.enqueue('dedup', '2', p_dedup_key => 'k'), (table first), 'a key stays taken while its job is leased');
select leasehold.fail(leasehold_test.job_id('dedup'), leasehold_test.token('dedup'), p_retry_in => '1 hour');
select is(leasehold.enqueue('dedup', '2', p_dedup_key => 'k'), (table first), 'a key stays taken while its job waits for a retry (C93)');
select leasehold_test.advance('1 hour');
select leasehold.promote_due();
select leasehold.lease_jobs(array['dedup'], gen_random_uuid());
select leasehold_test.take_over('dedup 2', 'dedup');
select leasehold.cancel((table first)), leasehold_test.reap();
select isnt(leasehold.enqueue('dedup', '3', p_dedup_key => 'k'), (table first), 'a key is free again once its window has passed and its job has ended');

select leasehold.create_queue('window');
select leasehold.enqueue('window', '1', p_dedup_key => 'k', p_dedup_window => '10 minutes') as job_id into temp table windowed;
select leasehold_test.take_over('window', 'window');
select leasehold.complete(leasehold_test.job_id('window'), leasehold_test.token('window'));
select leasehold_test.advance('10 minutes' - interval '1 microsecond');
select is(leasehold.enqueue('window', '2', p_dedup_key => 'k'), (table windowed), 'within its window a key is taken even though its job has completed (C90)');
select leasehold_test.advance('1 microsecond');
select isnt(leasehold.enqueue('window', '2', p_dedup_key => 'k'), (table windowed), 'at the end of its window the key of a completed job is free');
select leasehold.enqueue('window', '1', p_dedup_key => 'zero', p_dedup_window => '0') as job_id into temp table zero;
select is(leasehold.enqueue('window', '1', p_dedup_key => 'zero', p_dedup_window => '0'), (table zero), 'a window of zero keeps the key while its job is live');
select leasehold.cancel((table zero));
select isnt(leasehold.enqueue('window', '1', p_dedup_key => 'zero', p_dedup_window => '0'), (table zero), 'a window of zero frees the key as soon as its job has ended');
select leasehold.create_queue('forgetful', p_keep_completed => '0');
select leasehold.enqueue('forgetful', '1', p_dedup_key => 'k') as job_id into temp table forgotten;
select leasehold_test.take_over('forgetful', 'forgetful');
select leasehold.complete(leasehold_test.job_id('forgetful'), leasehold_test.token('forgetful'));
select is(leasehold.enqueue('forgetful', '1', p_dedup_key => 'k'), (table forgotten), 'a key outlives its job where completed jobs are kept for no time');
select lives_ok(format('select leasehold.enqueue(''work'', ''1'', p_dedup_key => %L)', key), format('enqueue takes the dedup key %s', quote_literal(left(key, 10))))
from unnest(array[' ', E'\n', 'a''b', '$$', '%s', repeat('x', 255)]) as key;
select throws_ok(format('select leasehold.enqueue(''work'', ''1'', p_dedup_key => %L)', key), '22023', null, format('enqueue refuses a dedup key of %s bytes', octet_length(key)))
from unnest(array['', repeat('x', 256), repeat('ä', 128)]) as key;

-- Bad arguments.
drop table untouched;
create temp table untouched on commit drop as select leasehold_test.state();
select throws_ok('select leasehold.enqueue(''nowhere'', ''1'')', 'LH005', 'queue "nowhere" does not exist', 'enqueue refuses an unknown queue');
select throws_ok('select leasehold.enqueue(null, ''1'')', '22023', null, 'enqueue refuses a null queue');
select throws_ok('select leasehold.enqueue(''work'', null)', '22023', null, 'enqueue refuses a null payload');
select throws_ok(
  format('select leasehold.enqueue(''work'', ''1'', %s)', setting), '22023', null, format('enqueue refuses %s', setting)
)
from unnest(array[
  'p_run_at => ''infinity''', 'p_run_at => ''-infinity''', 'p_delay => ''-1 second''', 'p_delay => ''3660 days 1 second''',
  'p_run_at => ''2030-01-01'', p_delay => ''1 second''', 'p_dedup_key => ''k'', p_dedup_window => ''-1 second''',
  'p_dedup_key => ''k'', p_dedup_window => ''366 days 1 second''', 'p_dedup_key => ''k'', p_dedup_window => null',
  'p_max_failures => 0', 'p_max_failures => 1000001', 'p_max_losses => 0', 'p_max_losses => 1000001',
  'p_max_runtime => ''0''', 'p_max_runtime => ''999 milliseconds''', 'p_max_runtime => ''366 days 1 second''',
  'p_time_to_live => ''0''', 'p_time_to_live => ''-1 hour''', 'p_time_to_live => ''3660 days 1 second'''
]) as setting;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.enqueue(''work'', ''1'')', 'LH007', null,
  'enqueue refuses a read-only transaction'
);
select is(leasehold_test.state(), (table untouched), 'a call that is refused changes no row');

select * from finish();
rollback;
