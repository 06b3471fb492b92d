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
$doc$Takes away leases that have expired, and ends jobs whose time to live has passed before their first start.

p_limit  most leases, and most waiting jobs, to take, 1 to 10000

An expired job becomes ready again, or cancelled if a cancel was asked for. It is charged a loss, and dead when
its losses are spent (lease_expired), if its worker held nothing else. If a worker vanishes with several jobs, none
is charged; a job that has lapsed twice is leased apart from others of its kind, and then charged every other time.
A job that was renewed past its longest runtime failed instead (max_runtime_exceeded).
Nothing is charged if its worker is seen again, which register_worker takes back what was charged for. A loss that
would be the last waits one lease length for that. So does every lease that expired while nobody called
reap_expired, or while no worker was seen: the database was away, or its clock was set.
Returns how many it took. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
