-- reap_expired: expired leases are taken away, and jobs past their time end.
begin;
select plan(57);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold_test.record_wakes();

create function pg_temp.job(p_name text)
  returns text
  language sql
as $$
  select (job.state, job.reason, job.failures, job.losses, job.releases, job.attempt)::text
  from leasehold.job(leasehold_test.job_id(p_name)) as job
$$;

-- The ordinary case.
select leasehold_test.start('plain');
delete from leasehold_test.woken;
select leasehold_test.advance('1 minute' - interval '1 microsecond');
create temp table before on commit drop as select leasehold_test.state();
select is(leasehold.reap_expired(), 0, 'reap_expired leaves a lease that has not expired');
select is(leasehold_test.state(), (table before), 'reaping nothing changes nothing');
drop table before;
select is(leasehold_test.woken(), '{}', 'reaping nothing wakes nobody');
select leasehold_test.advance('1 microsecond');
select is(leasehold.reap_expired(), 1, 'reap_expired takes a lease at the instant of its expiry');
select is(pg_temp.job('plain'), '(ready,,0,1,0,1)', 'the job is ready again with one more loss (G8)');
select is(
  (select (job.history -> 0) - array['worker_id', 'leased_at', 'ended_at'] from leasehold.job(leasehold_test.job_id('plain')) as job),
  '{"attempt": 1, "outcome": "expired", "counted": true, "error": "lease_expired"}', 'the history keeps that the lease expired'
);
select is(leasehold_test.woken(), array['plain'], 'reap_expired wakes the workers of the queue');
create temp table before on commit drop as select leasehold_test.state();
select is(leasehold.reap_expired(), 0, 'reap_expired again takes nothing (G5)');
select is(leasehold_test.state(), (table before), 'a repeat changes nothing (G5)');
drop table before;
select leasehold_test.start('younger');
select leasehold.enqueue('plain', '"younger"');
select is(
  (select job_id from leasehold.lease_jobs(array['plain'], gen_random_uuid())), leasehold_test.job_id('plain'),
  'a reaped job runs before later ones of its priority'
);

-- The limit.
select leasehold.create_queue('many');
select leasehold.enqueue('many', '1') from generate_series(1, 5);
select leasehold.lease_jobs(array['many'], gen_random_uuid(), 5);
select leasehold_test.reap();
select leasehold.lease_jobs(array['many'], gen_random_uuid(), 5, '1 second');
select leasehold_test.advance('1 second');
select is(leasehold.reap_expired(3), 3, 'reap_expired takes as many leases as its limit says');
select is(leasehold.reap_expired(3), 2, 'the rest follows');

-- The loss budget (G8, C51).
select leasehold_test.start('crashing');
select leasehold_test.reap();
select leasehold_test.take_over('crashing 2', 'crashing');
select leasehold_test.reap();
select leasehold_test.take_over('crashing 3', 'crashing');
delete from leasehold_test.woken;
select leasehold_test.reap();
select is(pg_temp.job('crashing'), '(dead,lease_expired,0,3,0,3)', 'a job that kills its worker three times is dead (G8)');
select is(leasehold_test.woken(), '{}', 'nobody is woken for a job that died');
select is_empty('select leasehold.lease_jobs(array[''crashing''], gen_random_uuid())', 'nobody leases it again');
select leasehold.create_queue('fragile');
select leasehold.enqueue('fragile', '1', p_max_losses => 1);
select leasehold_test.take_over('fragile', 'fragile');
select leasehold_test.reap();
select is(pg_temp.job('fragile'), '(dead,lease_expired,0,1,0,1)', 'a job''s own loss budget comes before its queue''s');
select leasehold.create_queue('forgetful', p_keep_dead => '0', p_max_losses => 1);
select leasehold_test.start('forgetful');
select leasehold_test.reap();
select is(
  (select (leased, ready, dead, pruned)::text from leasehold.queue_stats('forgetful')), '(0,0,0,1)',
  'a job that dies where none is kept leaves no row and is counted as pruned (G1)'
);

-- Time to live (C95).
select leasehold.create_queue('mortal', p_time_to_live => '30 seconds');
select leasehold.enqueue('mortal', '"ready"'), leasehold.enqueue('mortal', '"scheduled"', p_delay => '1 second');
select leasehold.enqueue('mortal', '"leased"', 0);
select leasehold.enqueue('mortal', '"blocked"', 9);
insert into leasehold.blocked (job_id, live_until, queue_id, attempt, releases, failures, losses, priority)
select job_id, live_until, queue_id, attempt, releases, failures, losses, priority
from leasehold.ready where priority = 9 and live_until is not null;
delete from leasehold.ready where job_id in (select job_id from leasehold.blocked);
select leasehold_test.take_over('mortal', 'mortal', '2 minutes');
select leasehold_test.advance('30 seconds' - interval '1 microsecond');
select is(leasehold.reap_expired(), 0, 'a waiting job lives until its time has come');
select leasehold_test.advance('1 second 1 microsecond');
select is(leasehold.reap_expired(1), 1, 'reap_expired ends as many waiting jobs as its limit says');
select is(leasehold.reap_expired(), 2, 'reap_expired ends waiting jobs whose time to live has passed');
select is(
  (select array_agg((payload, reason, attempt)::text order by payload::text) from leasehold.peek('mortal', 'dead')),
  array['("""blocked""",ttl_expired,0)', '("""ready""",ttl_expired,0)', '("""scheduled""",ttl_expired,0)'],
  'waiting jobs die from any position, and say why'
);
select is(leasehold_test.state_of('mortal'), 'leased', 'a leased job survives its time to live');
select is(
  (leasehold.heartbeat(leasehold_test.job_id('mortal'), leasehold_test.token('mortal'))).status, 'ok', 'and is renewed as ever'
);
select leasehold_test.advance('2 minutes');
select is(leasehold.reap_expired(), 1, 'a job that lapses past its time to live is taken once');
select is(pg_temp.job('mortal'), '(dead,ttl_expired,0,1,0,1)', 'a lease that lapses past its job''s time to live ends it');

-- A cancel that was asked for.
select leasehold_test.start('cancelling');
select leasehold.cancel(leasehold_test.job_id('cancelling'), 'enough');
select leasehold_test.reap();
select is(pg_temp.job('cancelling'), '(cancelled,enough,0,0,0,1)', 'a lapsed job whose cancel was asked for is cancelled and counts no loss');

-- The longest runtime (C02).
select leasehold.create_queue('capped', p_max_runtime => '90 seconds', p_max_failures => 2, p_backoff_base => '10 seconds', p_backoff_max => '10 seconds');
select leasehold_test.start('capped');
select leasehold_test.advance('50 seconds');
select leasehold.heartbeat(leasehold_test.job_id('capped'), leasehold_test.token('capped'));
select leasehold_test.advance('50 seconds');
select leasehold.heartbeat(leasehold_test.job_id('capped'), leasehold_test.token('capped'));
select is(leasehold.reap_expired(), 0, 'a job past its longest runtime is not reaped while its lease is current');
select leasehold_test.advance('50 seconds');
select is(leasehold.reap_expired(), 1, 'a job past its longest runtime is reaped when its last lease ends');
select is(pg_temp.job('capped'), '(scheduled,,1,0,0,1)', 'running too long is a failure and not a loss (G8)');
select is(
  (select (job.history -> 0) - array['worker_id', 'leased_at', 'ended_at'] from leasehold.job(leasehold_test.job_id('capped')) as job),
  '{"attempt": 1, "outcome": "failed", "counted": true, "error": "max_runtime_exceeded"}', 'the history says that it ran too long'
);
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''capped''), leasehold_test.token(''capped''))', 'LH001', null,
  'the token of a job that ran too long is retired (G4)'
);
select leasehold_test.advance('10 seconds');
select leasehold.promote_due();
select leasehold_test.take_over('capped 2', 'capped', '2 minutes');
select leasehold_test.advance('2 minutes');
select leasehold.reap_expired();
select is(pg_temp.job('capped'), '(dead,max_runtime_exceeded,2,0,0,2)', 'the failure budget ends a job that runs too long again and again');
select leasehold_test.start('lapsed early');
select leasehold_test.reap();
select leasehold.create_queue('short of it', p_max_runtime => '10 minutes');
select leasehold_test.start('short of it');
select leasehold_test.reap();
select is(pg_temp.job('short of it'), '(ready,,0,1,0,1)', 'a lease that lapses before the longest runtime is a loss');

-- Amnesty: the server was restarted (G8).
select leasehold_test.set_now(pg_postmaster_start_time() - interval '30 seconds');
select leasehold_test.start('restarted');
select leasehold_test.reap();
select is(pg_temp.job('restarted'), '(ready,,0,0,0,1)', 'a lease last renewed before the server started counts no loss (G8)');
select is((leasehold.job(leasehold_test.job_id('restarted'))).history -> 0 ->> 'counted', 'false', 'the history says that it did not count');
select is(
  (leasehold.heartbeat(leasehold_test.job_id('restarted'), leasehold_test.token('restarted'))).status, 'revived',
  'a lease that was reaped uncounted is taken back as well (G4)'
);
select is(pg_temp.job('restarted'), '(leased,,0,0,0,1)', 'and its losses do not fall below zero');
select leasehold_test.reap();
select is(pg_temp.job('restarted'), '(ready,,0,1,0,1)', 'a lease that was renewed since the start counts its loss');
delete from leasehold.lease;

-- Amnesty: no worker could reach the database (G8).
select leasehold_test.set_now('2030-02-01 12:00:00Z');
select leasehold_test.start('survivor');
select leasehold_test.start('victim');
select leasehold.register_worker(leasehold_test.worker_id('survivor'), array['survivor']);
select leasehold.register_worker(leasehold_test.worker_id('victim'), array['victim']);
select leasehold_test.advance('61 seconds');
select is(leasehold.reap_expired(), 0, 'while no worker is seen leases wait: the database may be away');
select leasehold_test.advance('4 minutes');
select leasehold.register_worker(leasehold_test.worker_id('survivor'), array['survivor']);
select is(leasehold.reap_expired(), 1, 'after an outage the lease of a worker that is back is reaped');
select is(pg_temp.job('survivor'), '(ready,,0,0,0,1)', 'and counts no loss (G8)');
select is(leasehold_test.state_of('victim'), 'leased', 'the lease of a worker that is not back waits one more lease length');
select leasehold_test.advance('60 seconds' - interval '1 microsecond');
select leasehold.register_worker(leasehold_test.worker_id('survivor'), array['survivor']);
select is(leasehold.reap_expired(), 0, 'not a microsecond less');
select leasehold_test.advance('1 microsecond');
select is(leasehold.reap_expired(), 1, 'then it is reaped');
select is(pg_temp.job('victim'), '(ready,,0,1,0,1)', 'and counts as a loss, since its worker did not survive (G8)');

-- A silence without an end: a lease waits one more length, and no longer.
select leasehold_test.start('silence');
select leasehold.register_worker(leasehold_test.worker_id('silence'), array['silence']);
select leasehold_test.advance('120 seconds' - interval '1 microsecond');
select is(leasehold.reap_expired(), 0, 'a lease that lapses in silence waits one more length');
select leasehold_test.advance('1 microsecond');
select is(leasehold.reap_expired(), 1, 'a lease that lapses in silence is reaped after two lengths');
select is(pg_temp.job('silence'), '(ready,,0,1,0,1)', 'and counts as a loss');

-- A silence shorter than a lease excuses nothing.
select leasehold_test.start('steady');
select leasehold_test.advance('30 seconds');
select leasehold.register_worker(leasehold_test.worker_id('steady'), array['steady']);
select leasehold_test.advance('40 seconds');
select leasehold.register_worker(leasehold_test.worker_id('steady'), array['steady']);
select leasehold.reap_expired();
select is(pg_temp.job('steady'), '(ready,,0,1,0,1)', 'a lease that lapses between two signs of life of its worker counts (G8)');

-- A renewal comes before the sign of life of its round, and those of others later still (G8).
select leasehold_test.start('renewed');
select leasehold_test.advance('20 seconds');
select leasehold.register_worker(leasehold_test.worker_id('renewed'), array['renewed']);
select leasehold_test.advance('40 seconds');
select leasehold.register_worker(leasehold_test.worker_id('renewed'), array['renewed']);
select leasehold.reap_expired();
select is(pg_temp.job('renewed'), '(ready,,0,0,0,1)', 'a lease that had most of its length left when the silence began counts no loss (G8)');

-- A process that dies and comes back under a new id has not survived (G8, C51).
select leasehold.create_queue('killer', p_max_losses => 2);
select leasehold_test.start('killer');
select leasehold.register_worker(leasehold_test.worker_id('killer'), array['killer']);
select leasehold_test.advance('10 minutes');
select leasehold.register_worker(gen_random_uuid(), array['killer']);
select leasehold_test.advance('1 minute');
select leasehold.reap_expired();
select is(pg_temp.job('killer'), '(ready,,0,1,0,1)', 'a worker that comes back under a new id did not survive: the loss counts (G8)');

select throws_ok(format('select leasehold.reap_expired(%L)', bad), '22023', null, format('reap_expired refuses a limit of %s', coalesce(bad::text, 'null')))
from unnest(array[0, -1, 10001, 2147483647, null]) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.reap_expired()', 'LH007', null,
  'reap_expired refuses a read-only transaction'
);

select * from finish();
rollback;
