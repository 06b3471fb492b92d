-- tick: one round of maintenance, however many processes ask for it.
begin;
select plan(21);
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

-- One bad job keeps no other.
select leasehold_test.set_now('2030-02-01 12:00:00Z');
delete from leasehold.worker;
update leasehold.upkeep set due_at = '-infinity', done_until = '-infinity';
select leasehold.create_queue(name) from unnest(array['bad', 'good']) as name;
select leasehold.enqueue(name, '1', p_delay => '1 second') from unnest(array['bad', 'good']) as name;
select leasehold_test.start(name, '1 second') from unnest(array['bad leased', 'good leased']) as name;
select leasehold.enqueue(name, '1', p_time_to_live => '1 second', p_delay => '500 milliseconds') from unnest(array['bad', 'good']) as name;
select leasehold_test.start(name) from unnest(array['bad ended', 'good ended']) as name;
update leasehold.queue set keep_completed = '1 second';
select leasehold.complete(leasehold_test.job_id(name), leasehold_test.token(name)) from unnest(array['bad ended', 'good ended']) as name;
select leasehold_test.advance('5 seconds');
-- Nobody has looked away for so long that this could be an outage.
update leasehold.upkeep set last_run_at = leasehold._now() where task = 'look';
create function pg_temp.refuse()
  returns trigger
  language plpgsql
as $$
begin
  if (select name ~ 'bad' from leasehold.queue where queue_id = coalesce(new.queue_id, old.queue_id)) then
    raise exception 'not this one';
  end if;
  return coalesce(new, old);
end;
$$;
create trigger refuse before insert on leasehold.ready for each row execute function pg_temp.refuse();
create trigger refuse before insert on leasehold.finished for each row execute function pg_temp.refuse();
create trigger refuse before delete on leasehold.job for each row execute function pg_temp.refuse();
set local client_min_messages = error;
select is(
  (select (reaped, promoted, pruned, failed)::text from leasehold.tick()), '(2,2,1,"{promote,reap,finished}")',
  'S07 a job that cannot be promoted, reaped or removed keeps no other from it, and tick says which tasks failed'
);
select results_eq(
  $$select live.state, count(*)::integer from leasehold._live as live join leasehold.queue as queue using (queue_id) where queue.name ~ 'good' group by 1 order by 1$$,
  $$values ('ready', 2)$$,
  'S07 the good ones are where they belong'
);
select is(
  array(select task || ': ' || regexp_replace(error, '\d+', 'n') || ', ' || (due_at - leasehold._now()) from leasehold.upkeep where failures = 1 order by task),
  array['finished: job n: not this one, 00:00:01', 'promote: job n: not this one, 00:00:01', 'reap: job n: not this one, 00:00:01'],
  'S07 upkeep shows what failed, and when it is tried again'
);
select is((leasehold.tick()).failed, '{}', 'S07 a task that failed is not tried again at once');
select leasehold_test.advance('1 second');
select is((leasehold.tick()).failed, array['promote', 'reap', 'finished'], 'S07 but later');
select is(
  array(select due_at - leasehold._now() from leasehold.upkeep where failures = 2), array_fill(interval '2 seconds', array[3]),
  'S07 after twice the time'
);
drop trigger refuse on leasehold.ready;
drop trigger refuse on leasehold.finished;
drop trigger refuse on leasehold.job;
select leasehold_test.advance('2 seconds');
select is((select (reaped, promoted, pruned, failed)::text from leasehold.tick()), '(2,2,1,{})', 'S07 what failed is done once it can be');
select is((select count(*)::integer from leasehold.upkeep where failures > 0), 0, 'S07 and nothing is left of the failure');
reset client_min_messages;

select throws_ok(
  'set local transaction_read_only = on; select leasehold.tick()', 'LH007', null,
  'tick refuses a read-only transaction'
);

select * from finish();
rollback;
