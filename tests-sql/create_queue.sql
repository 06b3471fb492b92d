-- create_queue: a named stream of jobs with its defaults; creating it again changes what is named.
begin;
select plan(94);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

create function pg_temp.settings(p_queue text)
  returns text
  language sql
as $$
  select (
    lease_duration, max_failures, max_losses, backoff_base, backoff_max, max_runtime, time_to_live,
    keep_completed, keep_dead, max_payload_bytes
  )::text
  from leasehold.queue where name = p_queue
$$;

-- First of all, since PL/pgSQL reads a body but once a session.
set local escape_string_warning = off;
set local standard_conforming_strings = off;
select lives_ok(
  'select leasehold.create_queue(''s'')', 'create_queue reads a name the same whatever the session says of string literals'
);
set local standard_conforming_strings = on;

-- The ordinary case.
select leasehold.create_queue('plain');
select is(
  pg_temp.settings('plain'), '(00:01:00,10,3,00:00:01,01:00:00,,,24:00:00,720:00:00,1048576)',
  'create_queue makes a queue with the documented defaults'
);
create temp table before on commit drop as select leasehold_test.state();
select lives_ok($$select leasehold.create_queue('plain')$$, 'create_queue may be repeated (G5)');
select is(leasehold_test.state(), (table before), 'a repeat that names nothing changes nothing (G5)');
select leasehold.create_queue(
  'full', '5 minutes', 4, 2, '2 seconds', '10 minutes', '3 hours', '2 days', '7 days', '60 days', 100
);
select is(
  pg_temp.settings('full'), '(00:05:00,4,2,00:00:02,00:10:00,03:00:00,48:00:00,168:00:00,1440:00:00,100)',
  'create_queue takes every setting'
);
select leasehold.create_queue('full', p_max_losses => 9);
select is(
  pg_temp.settings('full'), '(00:05:00,4,9,00:00:02,00:10:00,03:00:00,48:00:00,168:00:00,1440:00:00,100)',
  'creating a queue again updates what is named and leaves the rest'
);
select leasehold.create_queue('full', p_max_runtime => '0', p_time_to_live => '0');
select is(
  pg_temp.settings('full'), '(00:05:00,4,9,00:00:02,00:10:00,,,168:00:00,1440:00:00,100)',
  'zero takes the longest runtime and the time to live away again'
);

-- Jobs follow their queue.
select leasehold.enqueue('full', '1');
select leasehold.create_queue('full', p_lease => '7 minutes', p_max_runtime => '1 hour');
select is(
  (select (lease_duration, remaining, max_runtime)::text from leasehold.lease_jobs(array['full'], gen_random_uuid())),
  '(00:07:00,00:07:00,01:00:00)', 'jobs that were enqueued before follow the queue when it changes'
);

-- Backoff: the two bounds stay in order.
select leasehold.create_queue('backoff', p_backoff_max => '500 milliseconds');
select is(
  (select (backoff_base, backoff_max)::text from leasehold.queue where name = 'backoff'), '(00:00:00.5,00:00:00.5)',
  'a shorter backoff max takes the base down with it'
);
select leasehold.create_queue('backoff', p_backoff_base => '2 hours');
select is(
  (select (backoff_base, backoff_max)::text from leasehold.queue where name = 'backoff'), '(02:00:00,02:00:00)',
  'a longer backoff base takes the max up with it'
);
select throws_ok(
  $$select leasehold.create_queue('backoff', p_backoff_base => '2 seconds', p_backoff_max => '1 second')$$,
  '22023', null, 'create_queue refuses a backoff base longer than the max'
);

-- Pause and drop.
select leasehold.pause_queue('plain');
select leasehold.create_queue('plain');
select isnt((select paused_at from leasehold.queue where name = 'plain'), null, 'creating a paused queue again leaves it paused');
select leasehold.drop_queue('backoff');
select leasehold.create_queue('backoff', p_max_failures => 2);
select is(
  (select (dropped_at, max_failures, backoff_base)::text from leasehold.queue where name = 'backoff'), '(,2,02:00:00)',
  'creating a dropped queue again keeps the settings it does not name'
);
select lives_ok($$select leasehold.enqueue('backoff', '1')$$, 'a queue that was created again takes jobs');

-- A long retention.
select leasehold_test.set_now('2030-08-31 12:00:00Z');
select leasehold.create_queue('months', p_keep_completed => '6 months');
select leasehold_test.start('months');
select leasehold.complete(leasehold_test.job_id('months'), leasehold_test.token('months'));
select is(
  (select keep_until - finished_at from leasehold.finished where job_id = leasehold_test.job_id('months')), '180 days',
  'S22 a retention of six months is kept for 180 days'
);

-- Names are data.
select lives_ok(
  format('select leasehold.create_queue(%L)', name), format('create_queue takes the name %s', quote_literal(left(name, 20)))
)
from unnest(array[
  'a b', 's', 'a"b', 'a''b', 'a;drop table leasehold.job', '--', '/*', '$$', '$1', '%s %I %L', E'back\\slash', 'NULL', 'null', '__proto__',
  'constructor', '../..', 'pg_temp.x', 'Case', 'case', U&'e\0301', U&'\00e9', U&'\0130', U&'\202Ertl', U&'\+01F600',
  repeat('x', 255), repeat(U&'\+01F600', 63)
]) as name;
select is(
  (select array_agg(queue order by queue) from leasehold.queue_stats() where queue in ('Case', 'case', U&'e\0301', U&'\00e9')),
  (select array_agg(name order by name) from unnest(array['Case', 'case', U&'e\0301', U&'\00e9']) as name),
  'names that differ in case or in normal form are different queues'
);
select throws_ok(
  format('select leasehold.create_queue(%L)', name), '22023', null, format('create_queue refuses the name %s', quote_nullable(left(name, 10)))
)
from unnest(array[
  null, '', ' ', ' a', 'a ', E'a\tb', E'a\nb', E'a\rb', E'a\x1bb', E'a\x7fb', repeat('x', 256), repeat('x', 10000), repeat(U&'\+01F600', 64)
]) as name;

-- Ranges.
select throws_ok(
  format('select leasehold.create_queue(''plain'', %s)', setting), '22023', null, format('create_queue refuses %s', setting)
)
from unnest(array[
  'p_lease => ''999 milliseconds''', 'p_lease => ''1 day 1 second''', 'p_lease => ''0''', 'p_lease => ''-1 minute''',
  'p_max_failures => 0', 'p_max_failures => -1', 'p_max_failures => 1000001',
  'p_max_losses => 0', 'p_max_losses => 1000001',
  'p_backoff_base => ''-1 second''', 'p_backoff_base => ''366 days 1 second''', 'p_backoff_max => ''-1 second''', 'p_backoff_max => ''366 days 1 second''',
  'p_max_runtime => ''999 milliseconds''', 'p_max_runtime => ''-1 second''', 'p_max_runtime => ''366 days 1 second''',
  'p_time_to_live => ''999 milliseconds''', 'p_time_to_live => ''3660 days 1 second''',
  'p_keep_completed => ''-1 second''', 'p_keep_completed => ''3660 days 1 second''',
  'p_keep_dead => ''-1 second''', 'p_keep_dead => ''3660 days 1 second''',
  'p_max_payload_bytes => 0', 'p_max_payload_bytes => -1', 'p_max_payload_bytes => 104857601'
]) as setting;
select lives_ok(
  format('select leasehold.create_queue(''edges'', %s)', setting), format('create_queue takes %s', setting)
)
from unnest(array[
  'p_lease => ''1 second''', 'p_lease => ''1 day''', 'p_max_failures => 1', 'p_max_failures => 1000000',
  'p_backoff_base => ''0''', 'p_backoff_max => ''366 days''', 'p_max_runtime => ''1 second''', 'p_max_runtime => ''366 days''',
  'p_time_to_live => ''10 years''', 'p_keep_completed => ''10 years''', 'p_keep_dead => ''0''', 'p_max_payload_bytes => 104857600'
]) as setting;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.create_queue(''plain'')', 'LH007', null,
  'create_queue refuses a read-only transaction'
);

select is(
  array[leasehold.create_queue('answers'), leasehold.create_queue('answers')], array[true, false],
  'S39 create_queue returns whether the queue is new'
);

select * from finish();
rollback;
