-- watch: one session looks for jobs all the time, and nobody is told of any meanwhile.
begin;
select plan(8);
select leasehold.create_queue('quiet');
select leasehold.create_queue('loud');

select is(leasehold.watch(array['loud', 'quiet', 'nowhere']), true, 'watch leaves out queues that do not exist');
select is(
  (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), 2,
  'watch holds one advisory lock a queue'
);
select isnt_empty(
  $$select from pg_locks as held join leasehold.queue as queue on queue.queue_id = held.objid::integer
    where held.locktype = 'advisory' and held.mode = 'ExclusiveLock' and queue.name = 'loud'$$,
  'watch holds the lock of its queue whole'
);
select is(leasehold.watch(array['loud']), true, 'watch may be called again');
select throws_ok($$select leasehold.watch(null)$$, '22023', null, 'watch refuses null');
select throws_ok($$select leasehold.watch(array[null])$$, '22023', null, 'watch refuses a null queue');

select leasehold.unwatch(array['loud', 'quiet']);
select leasehold.unwatch(array['loud']);
select is(
  (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), 0,
  'every watch takes one unwatch'
);
select is(leasehold.watch('{}'), true, 'there is always nothing to watch');
select * from finish();
rollback;
