create or replace function leasehold.set_waiting(
  p_queues text[],
  p_mode text,
  p_backend_pid integer
)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue_ids integer[];
  v_key integer;
  v_held text[] := string_to_array(current_setting('leasehold.waiting', true), ':');
  v_wanted text[] := array[]::text[];
begin
  perform leasehold._require_list('queues', p_queues);
  if (p_mode in ('off', 'told', 'watching')) is not true then
    raise exception 'mode must be off, told or watching, got %', coalesce(left(p_mode, 255), 'null')
      using errcode = 'invalid_parameter_value';
  end if;
  if p_backend_pid is distinct from pg_backend_pid() then
    raise exception 'backend pid must be %, got %', pg_backend_pid(), coalesce(p_backend_pid::text, 'null')
      using errcode = 'invalid_parameter_value',
        hint = 'Another number means that a pooler stands in between: connect past it, or poll.';
  end if;

  v_queue_ids := array(
    select queue.queue_id
    from leasehold.queue as queue
    where queue.name = any (p_queues)
      and queue.dropped_at is null
    order by queue.queue_id
  );
  v_key := leasehold._waiting_key(v_queue_ids);
  if p_mode <> 'off' and v_key is not null then
    v_wanted := array[p_mode, v_key::text];
  end if;

  v_held := coalesce(v_held, '{}');
  if v_wanted <> '{}' then
    if v_wanted <> v_held and not leasehold._hold_waiting(p_mode, v_key) then
      return null;
    end if;
    if v_key < 0 and not leasehold._share_slot(v_queue_ids, -v_key) then
      if v_wanted <> v_held then
        perform leasehold._let_go_of_waiting(p_mode, v_key);
      end if;
      return null;
    end if;
  end if;
  if v_wanted <> v_held then
    if v_held <> '{}' then
      perform leasehold._let_go_of_waiting(v_held[1], v_held[2]::integer);
    end if;
    -- The session's own memory of what it holds: PostgreSQL counts locks, and warns of one that is not held.
    perform set_config('leasehold.waiting', array_to_string(v_wanted, ':'), false);
  end if;

  -- What was announced to this session alone is for others now.
  if p_mode = 'off' and current_setting('transaction_read_only') = 'off' then
    perform leasehold._wake(queue_id)
    from unnest(v_queue_ids) as queue_id
    where leasehold._line(queue_id) is not null;
  end if;
  return leasehold._bucket();
end;
$$;

comment on function leasehold.set_waiting(text[], text, integer) is
$doc$Sets how this session waits for jobs, in place of what was set before: setting the same again changes nothing.

p_queues       the queues it serves; those that do not exist are left out
p_mode         told: jobs that become ready are announced to it;
               watching: it looks for jobs every few milliseconds, and nothing is announced to anybody;
               off: neither, and ready jobs are announced to another session
p_backend_pid  the process id that the server told the driver when this session began

An announcement comes on the channel "leasehold" as "ready:", the queue's id and, if few jobs are meant, ":"
and a bucket: of the sessions that are told, only those of that bucket need look.
Returns the bucket of this session; null, having changed nothing, if another session is in the way, or watches:
try again later.
LISTEN first, then set told, then look for jobs once more, then wait, but never without a poll: what became
ready in a transaction that was under way is not announced. A session without free slots sets off, or it
keeps announcements from others; it sets off again for each announcement that it cannot follow. After
watching, look once more.
A session holds two advisory locks at most, however many queues it serves, and keeps them until it ends. So a
transaction that calls this must not be rolled back, and a pooler must not lend the session to others: the
process id shows one.
Raises 22023.$doc$;
