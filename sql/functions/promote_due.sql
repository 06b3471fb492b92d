create or replace function leasehold.promote_due(p_limit integer default 1000)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 10000);
  return leasehold._promote(p_limit);
end;
$$;

comment on function leasehold.promote_due(integer) is
$doc$Makes scheduled jobs ready whose time has come, the longest due first, and wakes their workers.

p_limit  most jobs to move, 1 to 10000

Returns how many it moved. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
