-- Types, functions and operators below are PostgreSQL's own, whatever the session's path begins with.
set local search_path = pg_catalog;

create schema if not exists leasehold;

comment on schema leasehold is
$doc$A job queue for long-running work: jobs are leased, renewed by heartbeats, completed.
Everything is done by calling the functions; the tables are theirs alone.$doc$;
