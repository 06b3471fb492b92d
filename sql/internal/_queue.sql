-- The queue of a name, or LH005.
create or replace function leasehold._queue(p_name text)
  returns leasehold.queue
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
begin
  if p_name is null then
    raise exception 'queue name must not be null' using errcode = 'invalid_parameter_value';
  end if;

  select queue.* into v_queue
  from leasehold.queue as queue
  where queue.name = p_name
    and queue.dropped_at is null;

  if not found then
    raise exception 'queue "%" does not exist', left(p_name, 255)
      using errcode = 'LH005',
        hint = 'Create it once: select leasehold.create_queue(name).';
  end if;
  return v_queue;
end;
$$;
