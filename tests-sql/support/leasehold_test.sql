-- Helpers for tests in SQL. All of it is for use inside a transaction that is rolled back.
create schema leasehold_test;

-- Replaces the only clock, with the signature of sql/internal/_now.sql, until the rollback.
create function leasehold_test.set_now(p_now timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  execute format(
    'create or replace function leasehold._now()
       returns timestamptz language sql volatile parallel safe
     return %L::timestamptz',
    p_now
  );
end;
$$;

comment on function leasehold_test.set_now(timestamptz) is
  'Stops the clock of schema leasehold at an instant, until the transaction is rolled back.';

create function leasehold_test.advance(p_by interval)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
begin atomic
  select leasehold_test.set_now(leasehold._now() + p_by);
end;

comment on function leasehold_test.advance(interval) is
  'Moves the clock of schema leasehold on by a span, and stops it there.';
