-- SKIP LOCKED and re-checking after a lock wait work at READ COMMITTED only: elsewhere
-- PostgreSQL answers 40001 at random moments. Better one clear error before any lock.
create or replace function leasehold._require_read_committed()
  returns void
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'leasehold works at read committed, this transaction is %',
      current_setting('transaction_isolation')
      using errcode = 'LH006',
        -- Of all places where the default can be set, this one is the last word. The next session has it.
        hint = format(
          'Begin the transaction with "isolation level read committed", or make that the default: alter role'
            ' %I in database %I set default_transaction_isolation = ''read committed''; enqueue works at every level.',
          session_user, current_database()
        );
  end if;
  perform leasehold._require_writable();
end;
$$;
