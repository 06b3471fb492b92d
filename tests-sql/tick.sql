-- tick: one round of maintenance, however many processes ask for it.
begin;
select plan(13);
select leasehold_test.set_now('2030-01-01 12:00:00Z');
select leasehold.create_queue('work', p_keep_completed => '1 day');

-- The first round does everything.
select is(leasehold.tick(), row(0, 0, 0, null, 0, '{}')::leasehold.tick_answer, 'tick of an idle database does nothing');
select is(
  array(select task from leasehold.upkeep where last_run_at <> leasehold._now()), array['promote'],
  'tick notes when it reaped and pruned; it promotes always'
);

-- Promotion always, reaping twice a second, pruning once a minute.
select leasehold_test.start('short', '1 second');
select leasehold.enqueue('work', '1', p_delay => '400 milliseconds');
select leasehold.enqueue('work', '2', p_delay => '10 seconds');
select leasehold_test.advance('400 milliseconds');
select is(leasehold.tick(), row(0, 1, 0, '9.6 seconds', 0, '{}')::leasehold.tick_answer, 'tick promotes always, and says when the next job is due');
select leasehold_test.advance('99 milliseconds');
update leasehold.lease set expires_at = leasehold._now();
select is((leasehold.tick()).reaped, 0, 'tick does not reap twice within half a second');
select leasehold_test.advance('1 millisecond');
select is((leasehold.tick()).reaped, 1, 'tick reaps half a second after the last time');
select is((leasehold.tick()).reaped, 0, 'tick again finds nothing to reap (G5)');
select leasehold_test.start('ended');
update leasehold.queue set keep_completed = '1 second';
select leasehold.complete(leasehold_test.job_id('ended'), leasehold_test.token('ended'));
update leasehold.finished set keep_until = leasehold._now();
select leasehold_test.set_now('2030-01-01 12:00:59.999Z');
select is((leasehold.tick()).pruned, 0, 'tick does not prune twice within a minute');
select leasehold_test.set_now('2030-01-01 12:01:00Z');
select is((leasehold.tick()).pruned, 1, 'tick prunes a minute after the last time');

-- A clock that is set back does not stop maintenance.
select leasehold_test.start('reaped', '1 second');
update leasehold.upkeep set last_run_at = leasehold._now() + interval '1 year', due_at = leasehold._now() + interval '1 year';
select leasehold_test.advance('1 second');
select is((leasehold.tick()).reaped, 1, 'tick reaps although the last time lies in the future');
select is(
  (select count(*)::integer from leasehold.upkeep where last_run_at > leasehold._now()), 0, 'and notes the time by the clock as it is'
);

-- More than one round can do.
select leasehold.create_queue('bulk');
select leasehold.enqueue_many('bulk', (select jsonb_agg('{"payload": 1, "delay": "1 s"}'::jsonb) from generate_series(1, 1001)));
select leasehold_test.advance('5 seconds');
select is(
  (select (promoted, next_due_in)::text from leasehold.tick()), '(1000,00:00:00)', 'tick says zero where more jobs are due than it moved'
);

-- Who else may tick.
select leasehold.register_worker(gen_random_uuid(), array['work']) from generate_series(1, 3);
update leasehold.worker set heartbeat_at = leasehold._now() - interval '1 minute'
where worker_id = (select worker_id from leasehold.worker limit 1);
select is((leasehold.tick()).workers, 2, 'tick counts the workers that were seen within the last minute');

select throws_ok(
  'set local transaction_read_only = on; select leasehold.tick()', 'LH007', null,
  'tick refuses a read-only transaction'
);

select * from finish();
rollback;
