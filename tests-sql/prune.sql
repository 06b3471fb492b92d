-- prune: what is past its time goes, and is counted.
begin;
select plan(33);
select leasehold_test.set_now('2030-01-01 12:00:00Z');

create function pg_temp.traces(p_name text)
  returns integer
  language sql
as $$
  select count(*)::integer from (
    select job_id from leasehold.job
    union all select job_id from leasehold._live
    union all select job_id from leasehold.finished
    union all select job_id from leasehold.attempt
    union all select job_id from leasehold.checkpoint
  ) as trace where job_id = leasehold_test.job_id(p_name)
$$;

-- To the instant.
select leasehold.create_queue('work', p_keep_completed => '1 day', p_keep_dead => '3 days');
select leasehold_test.start(name) from unnest(array['completed', 'dead', 'cancelled']) as name;
update leasehold.queue set keep_completed = '1 day', keep_dead = '3 days';
select leasehold.heartbeat(leasehold_test.job_id('completed'), leasehold_test.token('completed'), p_checkpoint => '1');
select leasehold.fail(leasehold_test.job_id('completed'), leasehold_test.token('completed'), 'x', '0');
select leasehold_test.take_over('completed again', 'completed');
select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed again'));
select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
select leasehold.cancel(leasehold_test.job_id('cancelled'));
select leasehold.release(leasehold_test.job_id('cancelled'), leasehold_test.token('cancelled'));
select is(
  (select array_agg((outcome, keep_until - finished_at)::text order by job_id) from leasehold.finished),
  array['(completed,"1 day")', '(dead,"3 days")', '(cancelled,"1 day")'], 'cancelled jobs are kept as long as completed ones, dead ones for their own time'
);
select is(leasehold.prune(), 0, 'prune removes nothing that is to be kept');
select leasehold_test.set_now('2030-01-02 11:59:59.999999Z');
select is(leasehold.prune(), 0, 'a job stays until its retention has passed');
select leasehold_test.set_now('2030-01-02 12:00:00Z');
select is(leasehold.prune(1), 1, 'prune removes as many jobs as its limit says');
select is(leasehold.prune(), 1, 'the rest follows');
select is(pg_temp.traces('completed'), 0, 'a pruned job leaves no row, neither history nor checkpoint');
select is(leasehold_test.state_of('dead'), 'dead', 'dead jobs are kept for their own time');
select is(
  (select array_agg((queue, completed, dead, cancelled, pruned)::text order by queue) from leasehold.queue_stats() where queue <> 'work'),
  array['(cancelled,0,0,0,1)', '(completed,0,0,0,1)', '(dead,0,1,0,0)'], 'removed jobs are counted (G1)'
);
create temp table before on commit drop as select leasehold_test.state();
select is(leasehold.prune(), 0, 'prune again removes nothing (G5)');
select is(leasehold_test.state(), (table before), 'a repeat changes nothing (G5)');
drop table before;

-- Long retentions.
select leasehold.create_queue('long', p_keep_completed => '10 years');
select leasehold_test.start('long');
select leasehold.complete(leasehold_test.job_id('long'), leasehold_test.token('long'));
select leasehold_test.set_now('2030-01-02 12:00:00Z'::timestamptz + interval '87659:59:59');
select is(leasehold.prune(), 1, 'S22 a job that is kept for ten years stays for ten years; the dead one goes');
select leasehold_test.advance('1 second');
select is(leasehold.prune(), 1, 'S22 and goes then');
select is(pg_temp.traces('long'), 0, 'and leaves no row');

-- What a transaction has completed that was open for longer than the retention.
select leasehold.create_queue('late', p_keep_completed => '1 minute');
select leasehold_test.start('late');
select leasehold.complete(leasehold_test.job_id('late'), leasehold_test.token('late'));
update leasehold.finished set keep_until = keep_until - interval '2 minutes';
select leasehold_test.advance('5 minutes');
select is(leasehold.prune(), 1, 'S22 a job whose end was committed after its retention had passed goes within minutes');

-- The look for what is past begins where the last one ended, unless the clock was set back.
update leasehold.upkeep set done_until = leasehold._now() + interval '1 year' where task = 'finished';
select leasehold.create_queue('soon', p_keep_completed => '1 second');
select leasehold_test.start('soon');
select leasehold.complete(leasehold_test.job_id('soon'), leasehold_test.token('soon'));
select leasehold_test.advance('1 second');
select is(leasehold.prune(), 1, 'prune begins from the first row where the clock was set back');
select is((select done_until from leasehold.upkeep where task = 'finished'), leasehold._now(), 'S22 prune notes how far it has come');

-- Ids that have begun anew.
select leasehold.create_queue('anew', p_keep_completed => '0');
select leasehold_test.start('anew');
insert into leasehold.tally (queue_id, job_id, pruned)
select queue_id, job_id, 7 from leasehold.job where job_id = leasehold_test.job_id('anew');
select is(
  (leasehold.complete(leasehold_test.job_id('anew'), leasehold_test.token('anew'))).status, 'completed', 'a job completes although an earlier one of its id is counted'
);
select is((select pruned from leasehold.queue_stats('anew')), 8::bigint, 'and both are counted (G1)');

-- Tallies are folded, and still add up.
select leasehold.create_queue('forgetful', p_keep_completed => '0');
select leasehold.enqueue('forgetful', '1') from generate_series(1, 5);
select leasehold.complete(leased.job_id, leased.token) from leasehold.lease_jobs(array['forgetful'], gen_random_uuid(), 5) as leased;
select leasehold.prune();
select is(
  (select array_agg(tally.pruned) from leasehold.tally as tally join leasehold.queue as queue using (queue_id) where queue.name = 'forgetful'),
  array[5]::bigint[], 'prune folds the counts of a queue into one row'
);
select leasehold.prune();
select is((select pruned from leasehold.queue_stats('forgetful')), 5::bigint, 'the count stays what it is (G1)');

-- Dedup keys go when their window has passed and their job has ended.
select leasehold.create_queue('dedup');
select leasehold.enqueue('dedup', '1', p_dedup_key => 'ended', p_dedup_window => '1 hour') as job_id into temp table ended;
select leasehold.cancel((table ended));
select leasehold.enqueue('dedup', '1', p_dedup_key => 'live', p_dedup_window => '1 hour');
select leasehold.enqueue('dedup', '1', p_dedup_key => 'scheduled', p_dedup_window => '1 hour', p_delay => '1 day');
select leasehold.enqueue('dedup', '1', p_dedup_key => 'leased', p_dedup_window => '1 hour', p_priority => 0);
select leasehold_test.take_over('dedup', 'dedup', '1 day');
select leasehold_test.advance('1 hour' - interval '1 microsecond');
select leasehold.prune();
select is(array(select dedup_key from leasehold.dedup order by 1), array['ended', 'leased', 'live', 'scheduled'], 'dedup keys stay for their window');
select leasehold_test.advance('1 microsecond');
select leasehold.prune();
select is(array(select dedup_key from leasehold.dedup order by 1), array['leased', 'live', 'scheduled'], 'after its window a key stays only while its job is live');

-- Requests, outages, workers.
insert into leasehold.request values
  ('00000000-0000-4000-8000-00000000000a', leasehold._now() - interval '10 minutes'),
  ('00000000-0000-4000-8000-00000000000b', leasehold._now() - interval '10 minutes 1 microsecond');
insert into leasehold.outage values
  (leasehold._now() - interval '4 days', leasehold._now() - interval '2 days'),
  (leasehold._now() - interval '4 days', leasehold._now() - interval '2 days 1 microsecond');
insert into leasehold.worker (worker_id, started_at, heartbeat_at, host, queues)
values
  (gen_random_uuid(), leasehold._now(), leasehold._now() - interval '1 day', 'seen', '{}'),
  (gen_random_uuid(), leasehold._now(), leasehold._now() - interval '1 day 1 microsecond', 'gone', '{}'),
  (leasehold_test.worker_id('dedup'), leasehold._now(), leasehold._now() - interval '2 days', 'holder', '{}');
select leasehold.prune();
select is(array(select right(request_id::text, 1) from leasehold.request), array['a'], 'requests are remembered for ten minutes');
select is((select count(*)::integer from leasehold.outage), 1, 'outages are remembered for two days');
select is(array(select host from leasehold.worker order by host), array['holder', 'seen'], 'a worker not seen for a day goes, unless it holds a lease (S19)');

-- Jobs in a queue that was dropped.
select leasehold.create_queue('dropped', p_keep_completed => '0');
select leasehold.enqueue('dropped', '1'), leasehold.enqueue('dropped', '1', p_delay => '1 hour');
select leasehold.enqueue('dropped', '1', 0);
select leasehold_test.take_over('dropped', 'dropped', '1 day');
update leasehold.queue set dropped_at = leasehold._now() where name = 'dropped';
select leasehold.prune();
select is(
  (select count(*)::integer from leasehold._live as live join leasehold.queue as queue using (queue_id) where queue.name = 'dropped' and live.state <> 'leased'),
  0, 'jobs that slipped into a dropped queue are cancelled'
);
select is(
  (leasehold.complete(leasehold_test.job_id('dropped'), leasehold_test.token('dropped'))).status, 'completed',
  'one that is leased goes on'
);

select throws_ok(format('select leasehold.prune(%L)', bad), '22023', null, format('prune refuses a limit of %s', coalesce(bad::text, 'null')))
from unnest(array[0, -1, 100001, 2147483647, null]) as bad;
select throws_ok(
  'set local transaction_read_only = on; select leasehold.prune()', 'LH007', null,
  'prune refuses a read-only transaction'
);

select * from finish();
rollback;
