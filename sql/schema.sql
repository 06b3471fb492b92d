-- Types, functions and operators below are PostgreSQL's own, whatever the session's path begins with.
set local search_path = pg_catalog;

-- Asked first, since "if not exists" wants the right to create even where the schema is there.
do $do$
begin
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'leasehold needs a database of encoding UTF8, this one has %',
      current_setting('server_encoding')
      using errcode = 'invalid_parameter_value';
  end if;
  if to_regnamespace('leasehold') is null then
    create schema leasehold;
  end if;
  if (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = 'leasehold') then
    comment on schema leasehold is
$doc$A job queue for long-running work: jobs are leased, renewed by heartbeats, completed.
Everything is done by calling the functions; the tables are theirs alone.$doc$;
  end if;
end;
$do$;
