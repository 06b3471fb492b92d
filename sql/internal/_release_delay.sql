-- How long a job waits that is released within a minute of its lease as it was fifty times in a row
-- before: longer with every time. Any other job waits for nothing.
create or replace function leasehold._release_delay(p_held leasehold.lease)
  returns interval
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_in_a_row integer;
begin
  if p_held.releases < 50 or leasehold._now() >= p_held.leased_at + interval '1 minute' then
    return interval '0';
  end if;

  select count(*)::integer into v_in_a_row
  from (
    select bool_and(
      attempt.outcome = 'released'
      and attempt.ended_at < attempt.leased_at + interval '1 minute'
    ) over (order by attempt.attempt desc) as goes_on
    from leasehold.attempt as attempt
    where attempt.job_id = p_held.job_id
      and attempt.attempt < p_held.attempt
    order by attempt.attempt desc
    limit 100
  ) as earlier
  where earlier.goes_on;

  return case
    when v_in_a_row < 50 then interval '0'
    else (
      select leasehold._backoff(
        greatest(budget.backoff_base, interval '1 second'),
        greatest(budget.backoff_max, interval '1 second'),
        v_in_a_row - 50
      )
      from leasehold._budget(p_held.job_id) as budget
    )
  end;
end;
$$;
