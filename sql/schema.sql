create schema if not exists leasehold;

comment on schema leasehold is
$doc$A job queue for long-running work: jobs are leased, renewed by heartbeats, completed.
Everything is done by calling the functions; the tables are theirs alone.$doc$;
