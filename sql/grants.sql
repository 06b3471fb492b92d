-- Nothing is for everyone. An operator grants usage on the schema and execute on functions to the roles
-- of producers and workers; nobody needs a right on a table, since the functions run as their owner.
revoke all on schema leasehold from public;
revoke all on all tables in schema leasehold from public;
revoke all on all sequences in schema leasehold from public;
revoke all on all functions in schema leasehold from public;
