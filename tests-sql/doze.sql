-- doze: a session is told of ready jobs while it dozes, and nobody is told otherwise.
begin;
select plan(6);
select leasehold.create_queue('quiet');
select leasehold.create_queue('loud');

select lives_ok($$select leasehold.doze(array['loud', 'nowhere'])$$, 'doze leaves out queues that do not exist');
select is(
  (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), 2,
  'doze holds two advisory locks a queue'
);
select isnt_empty(
  $$select from pg_locks as held join leasehold.queue as queue on queue.queue_id = held.objid::integer
    where held.locktype = 'advisory' and held.mode = 'ShareLock' and queue.name = 'loud'$$,
  'doze holds the lock of its queue, shared'
);
select lives_ok($$select leasehold.doze(array['loud'])$$, 'doze may be called again');
select throws_ok($$select leasehold.doze(null)$$, '22023', null, 'doze refuses null');
select throws_ok($$select leasehold.doze(array[null])$$, '22023', null, 'doze refuses a null queue');
select * from finish();
rollback;
