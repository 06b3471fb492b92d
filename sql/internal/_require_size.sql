create or replace function leasehold._require_size(
  p_queue leasehold.queue,
  p_bytes integer -- of the largest payload or headers as text
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_bytes > p_queue.max_payload_bytes then
    raise exception 'payload and headers must each be at most % bytes as text, got %',
      p_queue.max_payload_bytes, p_bytes
      using errcode = 'LH008',
        hint = 'Put large data into a store of its own and enqueue a reference to it.';
  end if;
end;
$$;
