create or replace function leasehold.reap_expired(p_limit integer default 1000)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 10000);
  return leasehold._reap(p_limit);
end;
$$;

comment on function leasehold.reap_expired(integer) is
$doc$Takes away leases that have expired, and ends waiting jobs whose time to live has passed.

p_limit  most leases, and most waiting jobs, to take, 1 to 10000

A lapsed job becomes ready again with one more loss; dead when its losses are spent (lease_expired) or its
time to live has passed (ttl_expired); cancelled if a cancel was asked for; and where its longest runtime
has passed it failed (max_runtime_exceeded). No loss is counted for a lease last renewed before the
server started, or that lapsed while no worker could reach the database and whose worker is back.
Returns how many it took. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
