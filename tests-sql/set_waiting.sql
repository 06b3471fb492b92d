-- set_waiting: how a session waits for jobs, as it was set last.
begin;
select plan(25);
select leasehold.create_queue('quiet');
select leasehold.create_queue('loud');
create temp view lock as
select held.classid::integer as class, held.objid::integer as key, held.mode
from pg_locks as held
where held.locktype = 'advisory' and held.pid = pg_backend_pid() and held.classid::integer <> leasehold._mark_class();
create function pg_temp.wait(p_queues text[], p_mode text) returns integer
language sql as 'select leasehold.set_waiting($1, $2, pg_backend_pid())';

select is(pg_temp.wait(array['loud', 'nowhere'], 'told'), leasehold._bucket(), 'set_waiting leaves out queues that do not exist, and answers the bucket');
create temp view told as
select leasehold._waiting_class() + bucket as class, queue.queue_id as key, 'ShareLock' as mode
from leasehold.queue as queue
cross join unnest(array[0, leasehold._bucket()]) as bucket
where queue.name = 'loud';
select set_eq('table lock', 'table told', 'who is told holds the lock of its queue, and of its bucket');
select is(pg_temp.wait(array['loud'], 'told'), leasehold._bucket(), 'set_waiting may be repeated');
select set_eq('table lock', 'table told', 'a repeat takes nothing more');
select is(pg_temp.wait(array['loud'], 'watching'), leasehold._bucket(), 'who is told may begin to watch');
select set_eq(
  'table lock', $$select leasehold._watching_class(), queue_id, 'ExclusiveLock' from leasehold.queue where name = 'loud'$$,
  'who watches holds one lock whole, and is not told'
);
select pg_temp.wait(array['loud'], 'watching');
select pg_temp.wait(array['loud'], 'told');
select set_eq('table lock', 'table told', 'two watches take one end');
select pg_temp.wait(array['quiet'], 'told');
select set_eq('select key from lock', $$select queue_id from leasehold.queue where name = 'quiet'$$, 'other queues take the place of those before');
select is(pg_temp.wait(array['loud'], 'off'), leasehold._bucket(), 'set_waiting ends it, whatever the queues are');
select is_empty('table lock', 'and nothing is held any more');
select is(pg_temp.wait(array['loud'], 'off'), leasehold._bucket(), 'ending it may be repeated');
select is(pg_temp.wait('{}', 'told'), leasehold._bucket(), 'there may be nothing to wait for');
select is_empty('table lock', 'for which nothing is held');

-- S24: however many queues there are.
insert into leasehold.queue (name) select 'queue ' || nth from generate_series(1, 1000) as nth;
create temp table served as select array_agg(name) as queues from leasehold.queue;
select pg_temp.wait(queues, 'told') from served;
select is((select count(*) from lock), 2::bigint, 'S24 a session that is told of a thousand queues holds two locks');
select pg_temp.wait(queues, 'told') from served;
select pg_temp.wait(queues, 'watching') from served;
select is((select count(*) from lock), 1::bigint, 'S24 a session that watches a thousand queues holds one lock');
select pg_temp.wait(queues, 'off') from served;
select is_empty('table lock', 'S24 and none once it does not wait');
select is(
  (select count(distinct waiting_slots) from leasehold.queue where waiting_slots <> 0), 1::bigint,
  'queues that are waited for together know the slot'
);

-- A queue keeps no more slots than it must.
update leasehold.queue
set waiting_slots = 9223372036854775806 & ~ (1::bigint << - leasehold._waiting_key(array(
  select queue_id from leasehold.queue where name in ('loud', 'quiet') order by queue_id
)))
where name in ('loud', 'quiet');
select pg_temp.wait(array['loud', 'quiet'], 'told');
select ok(
  bool_and(waiting_slots = 1::bigint << - lock.key),
  'a queue that knows many slots forgets those nobody waits in as it learns of another'
)
from leasehold.queue as queue cross join lock
where queue.name in ('loud', 'quiet');
select pg_temp.wait(array['loud', 'quiet'], 'off');

select throws_ok(format('select pg_temp.wait(%L, %L)', queues, mode), '22023', null, format('set_waiting refuses %s, %s', queues, mode))
from (values (null, 'told'), ('{null}', 'told'), ('{loud}', null), ('{loud}', 'doze')) as bad (queues, mode);
select throws_ok(
  format($$select leasehold.set_waiting(array['loud'], 'told', %L)$$, pid), '22023', format('backend pid must be %s, got %s', pg_backend_pid(), coalesce(pid::text, 'null')),
  'S38 set_waiting refuses a session that is not the driver''s own'
)
from (values (null), (pg_backend_pid() + 1)) as other (pid);
select is_empty('table lock', 'a call that is refused takes no lock');

select * from finish();
rollback;
