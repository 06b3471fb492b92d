-- Jobs with a name, brought to where a test needs them, and a look at every row there is.
-- Each name is a queue of its own too, so that one case does not lease the job of another.
create table leasehold_test.held (
  name text primary key,
  job_id bigint not null,
  token uuid not null,
  worker_id uuid not null
);

create function leasehold_test.job_id(p_name text)
  returns bigint
  language sql
  stable
begin atomic
  select held.job_id from leasehold_test.held as held where held.name = p_name;
end;

create function leasehold_test.token(p_name text)
  returns uuid
  language sql
  stable
begin atomic
  select held.token from leasehold_test.held as held where held.name = p_name;
end;

create function leasehold_test.worker_id(p_name text)
  returns uuid
  language sql
  stable
begin atomic
  select held.worker_id from leasehold_test.held as held where held.name = p_name;
end;

create function leasehold_test.state_of(p_name text)
  returns text
  language sql
begin atomic
  select (leasehold.job(leasehold_test.job_id(p_name))).state;
end;

-- Leases a job of queue p_queue and remembers it as p_name.
create function leasehold_test.take_over(
  p_name text,
  p_queue text,
  p_lease interval default null
)
  returns void
  language plpgsql
as $$
declare
  v_worker_id uuid := gen_random_uuid();
begin
  insert into leasehold_test.held (name, job_id, token, worker_id)
  select p_name, leased.job_id, leased.token, v_worker_id
  from leasehold.lease_jobs(array[p_queue], v_worker_id, 1, p_lease) as leased;
  if not found then
    raise exception 'queue "%" has no job to lease', p_queue;
  end if;
end;
$$;

-- A queue, a job in it and a lease, all of one name. A queue that is there keeps its settings.
create function leasehold_test.start(
  p_name text,
  p_lease interval default null
)
  returns void
  language plpgsql
as $$
begin
  perform leasehold.create_queue(p_name);
  perform leasehold.enqueue(p_name, to_jsonb(p_name));
  perform leasehold_test.take_over(p_name, p_name, p_lease);
end;
$$;

-- Lets the default lease length pass, for every lease there is.
create function leasehold_test.lapse()
  returns void
  language sql
begin atomic
  select leasehold_test.advance(interval '61 seconds');
end;

-- The same, with a reaper that never looks away for long: else it takes the time for an outage.
create function leasehold_test.reap()
  returns integer
  language plpgsql
as $$
declare
  v_reaped integer;
begin
  perform leasehold_test.advance('40 seconds');
  v_reaped := leasehold.reap_expired();
  perform leasehold_test.advance('21 seconds');
  return v_reaped + leasehold.reap_expired();
end;
$$;

-- A holder that lost its job: the lease was reaped, and "thief of <name>" holds the job now.
create function leasehold_test.lose(p_name text)
  returns void
  language plpgsql
as $$
begin
  perform leasehold_test.start(p_name);
  perform leasehold_test.reap();
  perform leasehold_test.take_over('thief of ' || p_name, p_name);
end;
$$;

-- One number for every row of every table: equal before and after means that nothing changed. When a reaper
-- last looked is left out.
create function leasehold_test.state()
  returns text
  language plpgsql
as $$
declare
  v_table regclass;
  v_hash text;
  v_state text := '';
begin
  for v_table in
    select class.oid::regclass
    from pg_class as class
    where class.relnamespace = 'leasehold'::regnamespace
      and class.relkind = 'r'
    order by class.relname
  loop
    execute format(
      'select md5(string_agg(row::text, chr(10) order by row::text)) from %s as row where row::text not like ''(look,%%''',
      v_table
    ) into v_hash;
    v_state := v_state || v_table || ' ' || coalesce(v_hash, 'empty') || chr(10);
  end loop;
  return md5(v_state);
end;
$$;

-- From here on _wake says in a table whom it would wake. Its own notify cannot be seen before commit.
create table leasehold_test.woken (queue_id integer);

create function leasehold_test.record_wakes()
  returns void
  language plpgsql
as $$
begin
  create or replace function leasehold._wake(p_queue_id integer, p_jobs bigint default 1, p_slots bigint default null)
    returns void
    language sql
    as 'insert into leasehold_test.woken values ($1)';
end;
$$;

-- The queues woken since the last call, by name.
create function leasehold_test.woken()
  returns text[]
  language sql
begin atomic
  with woken as (
    delete from leasehold_test.woken returning queue_id
  )
  select coalesce(array_agg(distinct queue.name order by queue.name), '{}')
  from woken
  join leasehold.queue as queue on queue.queue_id = woken.queue_id;
end;
