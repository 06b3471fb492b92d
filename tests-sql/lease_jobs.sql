-- lease_jobs: a worker gets jobs that can run now, in the order of the line, each to it alone.
begin;
select plan(66);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.lease(p_queues text[], p_limit integer default 100)
  returns text[]
  language sql
as $$
  select coalesce(array_agg(leased.payload #>> '{}' order by ordinality), '{}')
  from leasehold.lease_jobs(p_queues, gen_random_uuid(), p_limit) with ordinality as leased
$$;

-- The ordinary case.
select leasehold.create_queue('plain', p_max_runtime => '2 hours');
select leasehold.enqueue('plain', '{"n": 1}', p_priority => 3, p_headers => '{"h": 1}') as job_id into temp table plain;
select leasehold_test.advance('5 seconds');
create temp table leased on commit drop as
select leased.* from leasehold.lease_jobs(array['plain'], '00000000-0000-4000-8000-000000000001') as leased;
select is(
  (select (job_id = (table plain), queue, priority, payload, headers, attempt, failures, losses, releases, checkpoint,
      lease_duration, remaining, max_runtime, leasehold._now() - enqueued_at, expires_at - leasehold._now())::text from leased),
  '(t,plain,3,"{""n"": 1}","{""h"": 1}",1,0,0,0,,00:01:00,00:01:00,02:00:00,00:00:05,00:01:00)',
  'lease_jobs gives the job with all that its worker needs'
);
select is(
  (select (job.state, job.attempt, job.worker_id, job.remaining)::text from leasehold.job((table plain)) as job),
  '(leased,1,00000000-0000-4000-8000-000000000001,00:01:00)', 'the job is leased to the worker that asked'
);
select is(pg_temp.lease(array['plain']), '{}', 'nobody else can lease the job (G2)');
select is((select fence & 4294967295 from leased), 1::bigint, 'the low half of the fence is the attempt');
select ok((select fence >> 32 > 0 from leased), 'the high half of the fence is the epoch of the server');

-- The order of the line.
select leasehold.create_queue('line');
select leasehold.enqueue('line', to_jsonb(name), p_priority => priority)
from (values ('5 a', 5), ('9 a', 9), ('5 b', 5), ('0 a', 0), ('5 c', 5), ('0 b', 0)) as line (name, priority);
select is(pg_temp.lease(array['line'], 4), array['0 a', '0 b', '5 a', '5 b'], 'jobs come by priority, then by age');
select is(pg_temp.lease(array['line'], 4), array['5 c', '9 a'], 'lease_jobs goes on where the call before ended');
select leasehold.create_queue('first'), leasehold.create_queue('second');
select leasehold.enqueue('second', '"s"', p_priority => 0), leasehold.enqueue('first', '"f1"', p_priority => 9);
select leasehold.enqueue('first', '"f2"', p_priority => 9);
select is(pg_temp.lease(array['first', 'second'], 2), array['f1', 'f2'], 'a queue that is named first is emptied first');
select is(pg_temp.lease(array['first', 'second', 'first'], 2), array['s'], 'the next queue has its turn when the first is empty; a queue may be named twice');

-- The limit.
select leasehold.create_queue('many');
select leasehold.enqueue_many('many', (select jsonb_agg(jsonb_build_object('payload', n)) from generate_series(1, 10) as n));
select is(cardinality(pg_temp.lease(array['many'], 1)), 1, 'lease_jobs takes one job by default');
select is((select count(*)::integer from leasehold.lease_jobs(array['many'], gen_random_uuid())), 1, 'the limit is one where none is named');
select is(pg_temp.lease(array['many'], 3), array['3', '4', '5'], 'lease_jobs takes as many jobs as its limit says');
select is(cardinality(pg_temp.lease(array['many'], 10000)), 5, 'lease_jobs takes what there is if that is less');
select is(pg_temp.lease('{}'), '{}', 'lease_jobs of no queue takes nothing');

-- Only what can run now.
select leasehold.create_queue('now');
select leasehold.enqueue('now', '"later"', p_delay => '1 minute'), leasehold.enqueue('now', '"mortal"', p_time_to_live => '30 seconds');
select leasehold_test.advance('30 seconds');
select is(pg_temp.lease(array['now']), '{}', 'a job for later, or past its time to live, is not leased');
select leasehold_test.advance('30 seconds');
select leasehold.promote_due();
select is(pg_temp.lease(array['now']), array['later'], 'a job is leased once it is due (C92)');

-- The length.
select leasehold.create_queue('length', p_lease => '5 minutes');
select leasehold.enqueue('length', '1') from generate_series(1, 4);
select is((select remaining from leasehold.lease_jobs(array['length'], gen_random_uuid())), '5 minutes', 'a lease is as long as its queue says');
select is((select remaining from leasehold.lease_jobs(array['length'], gen_random_uuid(), 1, null)), '5 minutes', 'a null length means the queue''s');
select is(
  (select (remaining, lease_duration)::text from leasehold.lease_jobs(array['length'], gen_random_uuid(), 1, '1.5 seconds')),
  '(00:00:01.5,00:00:01.5)', 'a lease may be shorter, to a fraction of a second (C12)'
);
select is((select remaining from leasehold.lease_jobs(array['length'], gen_random_uuid(), 1, '1 day')), '1 day', 'a lease may be a day long');

-- Attempts and fences grow, tokens differ.
select leasehold_test.start('again');
select leasehold.heartbeat(leasehold_test.job_id('again'), leasehold_test.token('again'), p_checkpoint => '{"at": 5}');
create temp table fence on commit drop as select fence from leasehold.lease where job_id = leasehold_test.job_id('again');
select leasehold_test.reap();
select leased.* into temp table second from leasehold.lease_jobs(array['again'], gen_random_uuid()) as leased;
select is(
  (select (attempt, losses, failures, checkpoint)::text from second), '(2,1,0,"{""at"": 5}")',
  'the next attempt has one more loss and starts from the checkpoint'
);
select ok((select second.fence > fence.fence from second, fence), 'the fence grows with every lease of a job (S2)');
select isnt((select token from second), leasehold_test.token('again'), 'every lease has a token of its own');
select leasehold.dead_letter(job_id, token) from second;
select leasehold.redrive(array[leasehold_test.job_id('again')]);
select ok(
  (select leased.attempt = 3 and leased.fence > second.fence from second, leasehold.lease_jobs(array['again'], gen_random_uuid()) as leased),
  'attempt and fence go on growing after a redrive'
);

-- A repeat of the request (G5, S9).
select leasehold.create_queue('early');
select leasehold.create_queue('late');
select leasehold.enqueue('early', '1', p_priority => 9), leasehold.enqueue('late', '2', p_priority => 0);
select leasehold.enqueue('late', '3', p_priority => 0);
create temp table asked on commit drop as
select leased.* from leasehold.lease_jobs(
  array['early', 'late'], '00000000-0000-4000-8000-000000000001', 2, null, '00000000-0000-4000-8000-0000000000aa'
) as leased;
create temp table before on commit drop as select leasehold_test.state();
select results_eq(
  $$select * from leasehold.lease_jobs(
    array['early', 'late'], '00000000-0000-4000-8000-000000000001', 2, null, '00000000-0000-4000-8000-0000000000aa')$$,
  'table asked',
  'lease_jobs with the same request id returns the same leases in the same order (G5)'
);
select is(leasehold_test.state(), (table before), 'a repeat of lease_jobs leases nothing more (G5)');
drop table before;
select is_empty(
  $$select leasehold.lease_jobs(
    array['early', 'late'], '00000000-0000-4000-8000-000000000002', 2, null, '00000000-0000-4000-8000-0000000000aa')$$,
  'another worker gets nothing for the same request id'
);
select is(pg_temp.lease(array['early', 'late']), array['3'], 'the job that the request left is there for others');
select leasehold_test.advance('10 seconds');
select results_eq(
  $$select job_id, token, remaining from leasehold.lease_jobs(
    array['early', 'late'], '00000000-0000-4000-8000-000000000001', 2, null, '00000000-0000-4000-8000-0000000000aa')$$,
  'select job_id, token, interval ''50 seconds'' from asked',
  'a repeat finds its leases also when the queues are empty by now, and says what remains (G5)'
);
select leasehold.complete(job_id, token) from asked where queue = 'early';
select results_eq(
  $$select job_id from leasehold.lease_jobs(
    array['early', 'late'], '00000000-0000-4000-8000-000000000001', 2, null, '00000000-0000-4000-8000-0000000000aa')$$,
  'select job_id from asked where queue = ''late''',
  'a repeat returns only leases that are still held'
);
select is_empty(
  $$select leasehold.lease_jobs(array['early'], '00000000-0000-4000-8000-000000000001', 2, null, '00000000-0000-4000-8000-0000000000bb')$$,
  'a request that finds nothing returns nothing'
);
select is_empty(
  'select from leasehold.request where request_id = ''00000000-0000-4000-8000-0000000000bb''', 'a quiet poll writes nothing'
);

-- A queue that is missing.
select leasehold.create_queue('there');
select leasehold.create_queue('dropped');
select leasehold.drop_queue('dropped');
select leasehold.enqueue('there', to_jsonb(n)) from generate_series(1, 2) as n;
select is(pg_temp.lease(array['nowhere', 'there', 'dropped'], 1), array['1'], 'S12 a queue that never was, or was dropped, keeps nobody from the others');
select leasehold.create_queue('dropped');
select leasehold.enqueue('dropped', '"back"');
select is(pg_temp.lease(array['nowhere', 'dropped', 'there']), array['back', '2'], 'S12 it is leased from again once it is back');

-- A host that does not tell its timeline.
select leasehold.create_queue('aurora');
select leasehold.enqueue('aurora', '1');
select job_id, fence, token into temp table told from leasehold.lease_jobs(array['aurora'], gen_random_uuid());
select leasehold.release(job_id, token) from told;
create role leasehold_owner;
grant usage, create on schema leasehold to leasehold_owner;
grant all on all tables in schema leasehold to leasehold_owner;
grant all on all sequences in schema leasehold to leasehold_owner;
grant all on all functions in schema leasehold, leasehold_test to leasehold_owner;
grant usage on schema leasehold_test to leasehold_owner;
grant all on all tables in schema leasehold_test to leasehold_owner;
alter function leasehold.lease_jobs(text[], uuid, integer, interval, uuid) owner to leasehold_owner;
revoke execute on function pg_current_wal_lsn() from public;
create temp table untold on commit drop as
select job_id, fence, token from leasehold.lease_jobs(array['aurora'], gen_random_uuid());
select ok(
  untold.fence > told.fence, 'S28 lease_jobs works, and the fence grows, where pg_current_wal_lsn is refused'
)
from told join untold using (job_id);
select leasehold.release(job_id, token) from untold;
select ok(
  again.fence > untold.fence, 'S28 and with every lease'
)
from untold join leasehold.lease_jobs(array['aurora'], gen_random_uuid()) as again using (job_id);
select leasehold.enqueue('aurora', '1');
create temp table clock on commit drop as select leasehold._now() as stopped;
select leasehold_test.set_now('2080-01-01 12:00:00Z');
select ok(later.fence > untold.fence, 'S28 and beyond 2038')
from untold, leasehold.lease_jobs(array['aurora'], gen_random_uuid()) as later;
select leasehold_test.set_now(stopped) from clock;

-- Bad arguments.
select leasehold.create_queue('work');
select leasehold.enqueue('work', '1');
create temp table before on commit drop as select leasehold_test.state();
select throws_ok('select leasehold.lease_jobs(array[''nowhere'', ''elsewhere''], gen_random_uuid())', 'LH005', 'queue "nowhere" does not exist', 'S12 lease_jobs refuses queues none of which exists');
select throws_ok('select leasehold.lease_jobs(null, gen_random_uuid())', '22023', null, 'lease_jobs refuses null queues');
select throws_ok('select leasehold.lease_jobs(array[''work'', null], gen_random_uuid())', '22023', null, 'lease_jobs refuses a null queue');
select throws_ok('select leasehold.lease_jobs(array[[''work''], [''work'']], gen_random_uuid())', '22023', null, 'lease_jobs refuses an array of two dimensions');
select throws_ok('select leasehold.lease_jobs(array[''work''], null)', '22023', null, 'lease_jobs refuses a null worker');
select throws_ok(
  format('select leasehold.lease_jobs(array[''work''], gen_random_uuid(), %L)', bad), '22023', null, format('lease_jobs refuses a limit of %s', coalesce(bad::text, 'null'))
)
from unnest(array[0, -1, 10001, 2147483647, -2147483648, null]) as bad;
select throws_ok(
  format('select leasehold.lease_jobs(array[''work''], gen_random_uuid(), 1, %L)', bad), '22023', null, format('lease_jobs refuses a lease of %s (C12)', bad)
)
from unnest(array['0', '-1 second', '1 millisecond', '999 milliseconds', '1 day 1 microsecond', '100 years']) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.lease_jobs(array[''work''], gen_random_uuid())', 'LH007', null,
  'lease_jobs refuses a read-only transaction'
);
select is(leasehold_test.state(), (table before), 'a call that is refused changes no row');

-- A repeat reads the jobs it returns, however many there are.
select leasehold.create_queue('repeats');
select leasehold.enqueue_many('repeats', (select jsonb_agg('{"payload": 1}'::jsonb) from generate_series(1, 1000)));
select leasehold.lease_jobs(array['repeats'], '00000000-0000-4000-8000-0000000000a5', 5, p_request_id => '00000000-0000-4000-8000-0000000000b5');
create function pg_temp.read_of_job()
  returns bigint
  language sql
as $$
  select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relid = 'leasehold.job'::regclass
$$;
create temp table before_repeat as select pg_temp.read_of_job() as rows;
select is(
  (select count(*)::integer from leasehold.lease_jobs(array['repeats'], '00000000-0000-4000-8000-0000000000a5', 5, p_request_id => '00000000-0000-4000-8000-0000000000b5')),
  5, 'S25 a repeat returns its leases'
);
select cmp_ok(
  pg_temp.read_of_job() - (select rows from before_repeat), '<=', 20::bigint, 'S25 and reads no other jobs'
);
-- Suspects: those that lapsed twice or more, one at a time to a worker.
select leasehold.create_queue('suspects');
select leasehold.enqueue('suspects', to_jsonb(n)) from generate_series(1, 120) as n;
update leasehold.ready set suspect = true where job_id in (
  select job.job_id from leasehold.peek('suspects', 'ready') as job where job.payload::text in ('2', '4', '6')
);
create function pg_temp.lease_suspects(p_worker integer, p_limit integer)
  returns text
  language sql
as $$
  select string_agg(leased.payload::text, ' ' order by ordinality) filter (where leased.payload::text in ('1', '2', '3', '4', '5', '6'))
  from leasehold.lease_jobs(
    array['suspects'], format('00000000-0000-4000-8000-00000000000%s', p_worker)::uuid, p_limit
  ) with ordinality as leased
$$;
select is(pg_temp.lease_suspects(1, 2), '1 2', 'S11 lease_jobs gives a worker one suspect, in its place in line');
select is(pg_temp.lease_suspects(1, 2), '3 5', 'S11 none while it holds one');
select is(pg_temp.lease_suspects(2, 60), '4', 'S11 another worker may have another');
select is(pg_temp.lease_suspects(1, 60), null, 'S11 suspects are passed over, also in a large call');
create temp table requests on commit drop as select count(*) from leasehold.request;
select is_empty(
  $$select from leasehold.lease_jobs(array['suspects'], '00000000-0000-4000-8000-000000000001', 1, null, gen_random_uuid())$$,
  'S26 a worker that holds a suspect is given no other'
);
select is((select count(*) from leasehold.request), (table requests), 'S26 a poll that may lease none of what is ready writes nothing');
select is((select count(*)::integer from leasehold.lease as lease join leasehold.queue as queue on queue.queue_id = lease.queue_id where queue.name = 'suspects'), 119,
  'S11 and all that are none are leased');
select leasehold.complete(lease.job_id, lease.token) from leasehold.lease as lease where lease.suspect;
select is(pg_temp.lease_suspects(1, 10), '6', 'S11 when it has settled that one it may have the next');

select * from finish();
rollback;
