-- Takes leases off their holders and returns them as they were: those whose token is the newest
-- and, at a second look, those that were reaped but not leased since. Any other item is left out, and so
-- is one whose row another transaction holds: one item must not hold up the others.
create or replace function leasehold._take(
  p_job_ids bigint[],
  p_tokens uuid[]
)
  returns setof leasehold.lease
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_held bigint[];
  v_taken integer := 0;
begin
  for v_look in 1..2 loop
    -- Locked in id order, as everywhere. The lateral join pins the plan.
    select array_agg(held.job_id) into v_held
    from (
      select item.job_id, item.token
      from unnest(p_job_ids, p_tokens) as item (job_id, token)
      order by item.job_id
    ) as item
    cross join lateral (
      select lease.job_id
      from leasehold.lease as lease
      where lease.job_id = item.job_id
        and lease.token = item.token
      for update skip locked
    ) as held;

    return query
    delete from leasehold.lease as lease
    where lease.job_id = any (v_held)
    returning lease.*;

    v_taken := v_taken + coalesce(cardinality(v_held), 0);
    exit when v_taken >= cardinality(p_job_ids) or v_look = 2
      or not leasehold._revive(p_job_ids, p_tokens);
  end loop;
end;
$$;
