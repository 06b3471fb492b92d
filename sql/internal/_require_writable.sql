create or replace function leasehold._require_writable()
  returns void
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_read_only') = 'on' then
    raise exception 'leasehold cannot write in a read-only transaction'
      using errcode = 'LH007',
        hint = 'Use a read-write transaction on the primary; a standby cannot lease or enqueue.';
  end if;
end;
$$;
