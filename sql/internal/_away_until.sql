-- When the stretches ended because of which a lease expired; null if there is none. Of those that begin alike
-- the first counts: where the time of the last look cannot be noted, each look notes another one.
create or replace function leasehold._away_until(p_lease leasehold.lease)
  returns timestamptz
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select max(stretch.ended_at)
  from (
    select min(outage.ended_at) as ended_at
    from leasehold.outage as outage
    where leasehold._lapsed_in(p_lease, outage.started_at, outage.ended_at)
    group by outage.started_at
  ) as stretch
$$;
