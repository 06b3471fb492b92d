-- reap_expired: expired leases are taken away, and jobs past their time end.
begin;
select plan(103);
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
select leasehold_test.advance('700 milliseconds');
select leasehold.reap_expired();
select leasehold_test.advance('300 milliseconds');
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
select is(
  pg_temp.job('crashing'), '(leased,,0,2,0,3)', 'S15 a loss that would be the last waits one lease length for its worker'
);
select leasehold_test.advance('59 seconds' - interval '1 microsecond');
select leasehold.reap_expired();
select is(leasehold_test.state_of('crashing'), 'leased', 'S15 not a microsecond less');
select leasehold_test.advance('1 microsecond');
select leasehold.reap_expired();
select is(pg_temp.job('crashing'), '(dead,lease_expired,0,3,0,3)', 'a job that kills its worker three times is dead (G8)');
select is(leasehold_test.woken(), '{}', 'nobody is woken for a job that died');
select is_empty('select leasehold.lease_jobs(array[''crashing''], gen_random_uuid())', 'nobody leases it again');
select leasehold.create_queue('fragile');
select leasehold.enqueue('fragile', '1', p_max_losses => 1);
select leasehold_test.take_over('fragile', 'fragile');
select leasehold_test.reap();
select leasehold_test.reap();
select is(pg_temp.job('fragile'), '(dead,lease_expired,0,1,0,1)', 'a job''s own loss budget comes before its queue''s');
select leasehold.create_queue('forgetful', p_keep_dead => '0', p_max_losses => 1);
select leasehold_test.start('forgetful');
select leasehold_test.reap();
select leasehold_test.reap();
select is(
  (select (leased, ready, dead, pruned)::text from leasehold.queue_stats('forgetful')), '(0,0,0,1)',
  'a job that dies where none is kept leaves no row and is counted as pruned (G1)'
);

-- Time to live (C95): how long a job may wait for its first start.
select leasehold.create_queue('mortal', p_time_to_live => '30 seconds', p_backoff_base => '1 minute', p_backoff_max => '1 minute');
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
select is(
  (leasehold.job(leasehold_test.job_id('mortal'))).live_until, null, 'S17 a job that has been leased has no time to live any more'
);
select leasehold.release(leasehold_test.job_id('mortal'), leasehold_test.token('mortal'));
select leasehold.reap_expired();
select is(pg_temp.job('mortal'), '(ready,,0,0,1,1)', 'S17 a job that a deploy releases is not ended by its time to live');
select leasehold_test.take_over('mortal 2', 'mortal');
select leasehold_test.reap();
select is(pg_temp.job('mortal'), '(ready,,0,1,1,2)', 'S17 nor is one whose lease expired');
select leasehold_test.take_over('mortal 3', 'mortal');
select leasehold.fail(leasehold_test.job_id('mortal 3'), leasehold_test.token('mortal 3'), 'x', '1 minute');
select leasehold.reap_expired();
select is(pg_temp.job('mortal'), '(scheduled,,1,1,1,3)', 'S17 nor is one whose failure is to be retried');
select leasehold_test.advance('1 minute');
select leasehold.promote_due();
select leasehold.reap_expired();
select is(pg_temp.job('mortal'), '(ready,,1,1,1,3)', 'S17 also not when it is due again');

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
select leasehold_test.advance('40 seconds');
select leasehold.reap_expired();
select leasehold_test.advance('10 seconds');
select is(leasehold.reap_expired(), 1, 'a job past its longest runtime is reaped when its last lease ends');
select is(pg_temp.job('capped'), '(ready,,1,0,0,1)', 'running too long is a failure and not a loss (G8)');
select is(
  (select (job.history -> 0) - array['worker_id', 'leased_at', 'ended_at'] from leasehold.job(leasehold_test.job_id('capped')) as job),
  '{"attempt": 1, "outcome": "overran", "counted": true, "error": "max_runtime_exceeded"}', 'the history says that it ran too long'
);
select is(
  (leasehold.heartbeat(leasehold_test.job_id('capped'), leasehold_test.token('capped'))).status, 'revived',
  'S18 the token of a job that ran too long is honoured until somebody leases the job (G4)'
);
select is(pg_temp.job('capped'), '(leased,,0,0,0,1)', 'S18 and the failure is taken back');
select leasehold_test.reap();
select is(pg_temp.job('capped'), '(ready,,1,0,0,1)', 'S18 it is reaped again as one that ran too long');
select leasehold_test.take_over('capped 2', 'capped');
select throws_ok(
  'select leasehold.complete(leasehold_test.job_id(''capped''), leasehold_test.token(''capped''))', 'LH001', null,
  'S18 the token is retired when somebody leases the job (G4)'
);
select leasehold_test.advance('50 seconds');
select leasehold.heartbeat(leasehold_test.job_id('capped 2'), leasehold_test.token('capped 2'));
select leasehold_test.advance('50 seconds');
select leasehold.heartbeat(leasehold_test.job_id('capped 2'), leasehold_test.token('capped 2'));
select leasehold_test.reap();
select is(pg_temp.job('capped'), '(dead,max_runtime_exceeded,2,0,0,2)', 'the failure budget ends a job that runs too long again and again');
select leasehold.create_queue('vanishing', p_max_runtime => '70 seconds');
select leasehold_test.start('vanishing');
select leasehold_test.advance('40 seconds');
select leasehold.heartbeat(leasehold_test.job_id('vanishing'), leasehold_test.token('vanishing'));
select leasehold_test.reap();
select is(
  pg_temp.job('vanishing'), '(ready,,0,1,0,1)',
  'S18 a worker that vanished before the longest runtime had passed is a loss, though the lease expired after it'
);
select leasehold_test.start('lapsed early');
select leasehold_test.reap();
select leasehold.create_queue('short of it', p_max_runtime => '10 minutes');
select leasehold_test.start('short of it');
select leasehold_test.reap();
select is(pg_temp.job('short of it'), '(ready,,0,1,0,1)', 'a lease that lapses before the longest runtime is a loss');

-- A worker that is seen again had not vanished (G8).
create function pg_temp.register(p_name text, p_secret uuid default '00000000-0000-4000-8000-00000000000a')
  returns void
  language sql
as $$
  select leasehold.register_worker(leasehold_test.worker_id(p_name), array[p_name], p_secret => p_secret)
$$;

-- A lease taken by the worker of another.
create function pg_temp.beside(p_name text, p_other text)
  returns void
  language sql
as $$
  select leasehold.create_queue(p_name);
  select leasehold.enqueue(p_name, to_jsonb(p_name));
  insert into leasehold_test.held
  select p_name, leased.job_id, leased.token, leasehold_test.worker_id(p_other)
  from leasehold.lease_jobs(array[p_name], leasehold_test.worker_id(p_other)) as leased
$$;

select leasehold_test.set_now('2030-02-01 12:00:00Z');
delete from leasehold.lease;
select leasehold.reap_expired();
select leasehold_test.start('cut off');
select pg_temp.register('cut off');
select leasehold_test.reap();
select is(pg_temp.job('cut off'), '(ready,,0,1,0,1)', 'while a worker is away its lease counts as a loss');
select leasehold_test.take_over('cut off 2', 'cut off', '1 day');
select leasehold_test.advance('4 minutes');
select pg_temp.register('cut off');
select is(pg_temp.job('cut off'), '(leased,,0,0,0,2)', 'S15 it is taken back when the worker is seen again, wherever the job is (G8)');
select is(
  (leasehold.job(leasehold_test.job_id('cut off'))).history -> 0 ->> 'counted', 'false', 'S15 and the history says so'
);
select pg_temp.register('cut off');
select is(pg_temp.job('cut off'), '(leased,,0,0,0,2)', 'S15 once');
select leasehold.fail(leasehold_test.job_id('cut off 2'), leasehold_test.token('cut off 2'), 'x', '1 hour');
select leasehold.reap_expired();
select leasehold_test.start('waiting');
select pg_temp.register('waiting');
select leasehold_test.reap();
select is(pg_temp.job('waiting'), '(ready,,0,1,0,1)', 'a reaped job waits with its loss');
select pg_temp.register('waiting');
select is(pg_temp.job('waiting'), '(ready,,0,0,0,1)', 'S15 it is taken back from a job that is ready');
select is(
  (leasehold.heartbeat(leasehold_test.job_id('waiting'), leasehold_test.token('waiting'))).status, 'revived',
  'S15 whose token is honoured as before (G4)'
);
select is(pg_temp.job('waiting'), '(leased,,0,0,0,1)', 'S15 and its losses do not fall below zero');
select leasehold.complete(leasehold_test.job_id('waiting'), leasehold_test.token('waiting'));
select leasehold_test.start('delayed');
select pg_temp.register('delayed');
select leasehold_test.reap();
select leasehold_test.take_over('delayed 2', 'delayed');
select leasehold.fail(leasehold_test.job_id('delayed 2'), leasehold_test.token('delayed 2'), 'x', '1 hour');
select pg_temp.register('delayed');
select is(pg_temp.job('delayed'), '(scheduled,,1,0,0,2)', 'S15 it is taken back from a job that is scheduled');
select leasehold_test.start('ended');
select pg_temp.register('ended');
select leasehold_test.reap();
select leasehold_test.take_over('ended 2', 'ended');
select leasehold.complete(leasehold_test.job_id('ended 2'), leasehold_test.token('ended 2'));
select pg_temp.register('ended');
select is(pg_temp.job('ended'), '(completed,,0,1,0,2)', 'a finished job keeps its loss: it never changes again');

-- Liveness needs what only the worker knows.
select leasehold_test.start('forged');
select leasehold_test.advance('1 second');
select pg_temp.register('forged');
select leasehold_test.reap();
select pg_temp.register('forged');
select is(
  pg_temp.job('forged'), '(ready,,0,1,0,1)', 'S21 who registers a worker after it leased excuses nothing: anybody can read its id'
);
select leasehold_test.start('open');
select pg_temp.register('open', null);
select leasehold_test.reap();
select pg_temp.register('open', null);
select is(pg_temp.job('open'), '(ready,,0,1,0,1)', 'S21 a worker without a secret is shown, and excuses nothing');

-- Not without end: a job may freeze whoever works on it.
select leasehold.create_queue('freezing', p_max_losses => 2);
select leasehold.enqueue('freezing', '1');
do $$
begin
  for n in 1..12 loop
    perform leasehold_test.take_over('freezing ' || n, 'freezing');
    perform leasehold.register_worker(
      leasehold_test.worker_id('freezing ' || n), array['freezing'], p_secret => '00000000-0000-4000-8000-00000000000b'
    );
    perform leasehold_test.reap();
    perform leasehold.register_worker(
      leasehold_test.worker_id('freezing ' || n), array['freezing'], p_secret => '00000000-0000-4000-8000-00000000000b'
    );
  end loop;
end;
$$;
select leasehold.reap_expired();
select leasehold_test.advance('40 seconds');
select leasehold.register_worker(gen_random_uuid(), array['freezing']);
select leasehold.reap_expired();
select leasehold_test.advance('20 seconds');
select leasehold.register_worker(gen_random_uuid(), array['freezing']);
select leasehold.reap_expired();
select is(pg_temp.job('freezing 1'), '(dead,lease_expired,0,2,0,12)', 'S21 a job that freezes every worker is dead in the end: ten lapses are excused');

-- The last loss waits for its worker (G8).
select leasehold.create_queue('last', p_max_losses => 1);
select leasehold_test.start('last');
select pg_temp.register('last');
select leasehold_test.reap();
do $$
begin
  for n in 1..60 loop
    perform leasehold_test.advance('10 seconds');
    perform leasehold.reap_expired();
  end loop;
end;
$$;
select is(
  leasehold_test.state_of('last'), 'leased', 'S15 while no worker is seen the verdict stays open, whoever calls reap_expired'
);
select leasehold.register_worker(gen_random_uuid(), array['last']);
select leasehold.reap_expired();
select is(leasehold_test.state_of('last'), 'leased', 'S15 also when another worker is back before it');
select pg_temp.register('last');
select is(leasehold_test.reap(), 1, 'S15 when it is back its lease is taken');
select is(pg_temp.job('last'), '(ready,,0,0,0,1)', 'S15 and counts no loss');
select leasehold_test.take_over('last 2', 'last');
select pg_temp.register('last 2');
select leasehold_test.advance('50 seconds');
select leasehold.register_worker(gen_random_uuid(), array['last']);
select leasehold.reap_expired();
select leasehold_test.advance('20 seconds');
select leasehold.register_worker(gen_random_uuid(), array['last']);
select is(leasehold.reap_expired(), 0, 'where others are seen it waits one length, too');
select leasehold_test.advance('25 seconds');
select leasehold.register_worker(gen_random_uuid(), array['last']);
select leasehold.reap_expired();
select leasehold_test.advance('25 seconds');
select leasehold.register_worker(gen_random_uuid(), array['last']);
select is(leasehold.reap_expired(), 1, 'and no longer');
select is(pg_temp.job('last'), '(dead,lease_expired,0,1,0,2)', 'its worker is not back: the job is dead (G8)');
delete from leasehold.worker;

-- Nobody looked: the database was away, or its clock was set (G8).
select leasehold_test.start('survivor');
select leasehold_test.start('victim');
select pg_temp.register(name) from unnest(array['survivor', 'victim']) as name;
select leasehold.reap_expired();
select leasehold_test.advance('1 hour');
select is(leasehold.reap_expired(), 0, 'S16 what expired while nobody looked is left alone: the clock may have been set');
select is(
  (leasehold.heartbeat(leasehold_test.job_id('survivor'), leasehold_test.token('survivor'))).status, 'revived',
  'S16 a worker goes on with its job'
);
-- One that decided to look before it, and looks after it: no clock was set.
select leasehold._note_outage(leasehold._now() - interval '1 millisecond');
select is((select count(*)::integer from leasehold.outage where ended_at = leasehold._now()), 1, 'S16 who looks at the same time forgets no outage');
select pg_temp.register('survivor');
select leasehold.reap_expired();
select leasehold_test.advance('20 seconds');
select leasehold.heartbeat(leasehold_test.job_id('survivor'), leasehold_test.token('survivor'));
select pg_temp.register('survivor');
select leasehold.reap_expired();
select leasehold_test.advance('20 seconds');
select pg_temp.register('survivor');
select leasehold.reap_expired();
select leasehold_test.advance('20 seconds' - interval '1 microsecond');
select is(leasehold.reap_expired(), 0, 'S16 for one more length');
select leasehold_test.advance('1 microsecond');
select is(leasehold.reap_expired(), 1, 'then it is reaped');
select is(pg_temp.job('victim'), '(ready,,0,1,0,1)', 'and counts as a loss, since its worker is not back (G8)');
select is(pg_temp.job('survivor'), '(leased,,0,0,0,1)', 'S16 the healthy one has not been touched');
select leasehold.complete(leasehold_test.job_id('survivor'), leasehold_test.token('survivor'));
select leasehold_test.advance('-2 hours');
select leasehold_test.start('after', '1 minute');
select leasehold_test.reap();
select is(pg_temp.job('after'), '(ready,,0,1,0,1)', 'S16 a clock that is set back does not keep leases from being reaped');
select is((select count(*)::integer from leasehold.outage where ended_at > leasehold._now()), 0, 'S16 nor is there an outage in the future');

-- Leases that were granted before the clock was set back expire as soon as they would have.
select leasehold_test.start(name, '1 minute') from unnest(array['gone', 'there', 'long']) as name;
select leasehold.heartbeat(leasehold_test.job_id('long'), leasehold_test.token('long'), '1 day');
select leasehold.reap_expired();
select leasehold_test.advance('-1 hour');
select leasehold.reap_expired();
select leasehold.reap_expired();
select is(
  array(
    select (leasehold.job(leasehold_test.job_id(name))).remaining from unnest(array['gone', 'there', 'long']) as name
  ),
  array['1 minute', '1 minute', '1 day']::interval[], 'S16 a clock that is set back makes no lease longer'
);
select leasehold_test.advance('40 seconds');
select leasehold.heartbeat(leasehold_test.job_id('there'), leasehold_test.token('there'));
select leasehold.reap_expired();
select leasehold_test.advance('20 seconds');
select is(leasehold.reap_expired(), 1, 'S16 what nobody renews is reaped in time');
select is(
  array(select leasehold_test.state_of(name) from unnest(array['gone', 'there', 'long']) as name),
  array['ready', 'leased', 'leased'], 'S16 and what is renewed stays'
);
select leasehold.complete(leasehold_test.job_id(name), leasehold_test.token(name)) from unnest(array['gone', 'there', 'long']) as name;
delete from leasehold.worker;
select leasehold_test.start('back');
select pg_temp.register('back');
select leasehold_test.advance('5 minutes');
select leasehold.reap_expired();
select pg_temp.register('back');
select leasehold.reap_expired();
select is(leasehold_test.reap(), 1, 'a lease that its worker does not renew when it is back is reaped one length later');
select is(pg_temp.job('back'), '(ready,,0,0,0,1)', 'and counts no loss (G8)');
select leasehold.register_worker(gen_random_uuid(), array['stale']);
select leasehold_test.advance('1 hour');
select leasehold.reap_expired();
select leasehold_test.start('stale');
select leasehold_test.reap();
select is(pg_temp.job('stale'), '(ready,,0,1,0,1)', 'S21 the row of a worker that went long ago does not hold up those that never register');

-- A process that dies and comes back under a new id has not survived (G8, C51).
select leasehold.create_queue('killer', p_max_losses => 3);
select leasehold_test.start('killer');
select pg_temp.register('killer');
select leasehold_test.advance('10 minutes');
select leasehold.register_worker(gen_random_uuid(), array['killer']);
select leasehold.reap_expired();
select leasehold_test.reap();
select is(pg_temp.job('killer'), '(ready,,0,1,0,1)', 'a worker that comes back under a new id did not survive: the loss counts (G8)');

-- In company (G8): the one that kills ends up dead, and the others live.
delete from leasehold.worker;
select leasehold.create_queue('company');
select leasehold.enqueue('company', to_jsonb(n), n) from generate_series(1, 6) as n;
create function pg_temp.crash(p_limit integer default 6)
  returns text
  language plpgsql
as $$
declare
  v_leased text;
begin
  select string_agg(leased.payload::text, ' ' order by leased.priority) into v_leased
  from leasehold.lease_jobs(array['company'], gen_random_uuid(), p_limit) as leased;
  perform leasehold_test.reap();
  return v_leased;
end;
$$;
create function pg_temp.losses(p_priorities integer[])
  returns integer[]
  language sql
as $$
  select array_agg(job.losses order by job.priority)
  from leasehold.peek('company', 'ready') as job
  where job.priority = any (p_priorities)
$$;
select is(pg_temp.crash(), '1 2 3 4 5 6', 'a worker crashes with six jobs');
select is(
  (select array_agg((losses, attempt)::text) from leasehold.peek('company', 'ready')), array_fill('(0,1)'::text, array[6]),
  'S11 a loss in company is charged to none of them'
);
select is(pg_temp.crash(), '1 2 3 4 5 6', 'S11 and all may run beside each other once more: not every crash is a job''s fault');
select is(pg_temp.crash(), '1', 'S11 those that lapsed twice are leased one at a time to a worker');
select is(pg_temp.losses('{1,2,3,4,5,6}'), array[1, 0, 0, 0, 0, 0], 'S11 alone it is charged');
select is(pg_temp.crash(), '1', 'S11 it keeps its place in line');
select is(pg_temp.crash(), '1', 'S11 until it is dead');
select leasehold_test.reap();
select is((select array_agg(payload::text) from leasehold.peek('company', 'dead')), array['1'], 'S11 the one that kills is dead (G8)');
select is(
  (select sum(losses)::integer from leasehold.peek('company', 'ready')), 0, 'S11 its neighbours have lost nothing (G8)'
);
select leasehold.enqueue('company', to_jsonb(n), n) from generate_series(7, 9) as n;
select is(pg_temp.crash(3), '2 7 8', 'S11 a suspect runs beside jobs that are none');
select is(pg_temp.losses('{2,7,8}'), array[1, 0, 0], 'S11 and is charged when its worker vanishes');
select is(pg_temp.crash(3), '2 7 8', 'S11 once more');
select is(pg_temp.losses('{2,7,8}'), array[1, 0, 0], 'S11 not twice, for it may be one of the others that kills');
select is(pg_temp.crash(3), '2 9', 'S11 which are suspects by now');
select is(pg_temp.losses('{2,9}'), array[2, 0], 'S11 every other time it is charged');

-- Leases of one worker expire one after the other.
select leasehold_test.start('first');
select leasehold.reap_expired();
select leasehold_test.advance('15 seconds');
select pg_temp.beside('second', 'first');
select leasehold_test.advance('25 seconds');
select leasehold.reap_expired();
select leasehold_test.advance('20 seconds');
select is(leasehold.reap_expired(), 1, 'a lease of a worker that holds two is reaped before the other');
select leasehold_test.advance('15 seconds');
select is(leasehold.reap_expired(), 1, 'the other follows');
select is(
  array[pg_temp.job('first'), pg_temp.job('second')], array['(ready,,0,0,0,1)', '(ready,,0,0,0,1)'], 'S11 each was in company'
);
select leasehold_test.start('dropped');
select pg_temp.beside('kept', 'dropped');
select leasehold_test.advance('40 seconds');
select leasehold.heartbeat(leasehold_test.job_id('kept'), leasehold_test.token('kept'));
select leasehold.reap_expired();
select leasehold_test.advance('21 seconds');
select leasehold.reap_expired();
select is(pg_temp.job('dropped'), '(ready,,0,1,0,1)', 'a job whose neighbour was renewed long after it was not in company');

select throws_ok(format('select leasehold.reap_expired(%L)', bad), '22023', null, format('reap_expired refuses a limit of %s', coalesce(bad::text, 'null')))
from unnest(array[0, -1, 10001, 2147483647, null]) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.reap_expired()', 'LH007', null,
  'reap_expired refuses a read-only transaction'
);

select * from finish();
rollback;
