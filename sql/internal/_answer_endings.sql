-- Ends attempts as decided and answers for every item of the batch, also for those that held nothing.
create or replace function leasehold._answer_endings(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_endings leasehold._ending[]
)
  returns setof leasehold.settlement
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
begin
  perform leasehold._end_attempts(p_endings);

  return query
  select
    item.job_id,
    case
      when ending.destination is null then case
        when leasehold._is_current(item.job_id, item.token) then 'busy'
        else leasehold._settled_status(item.job_id, item.token, false)
      end
      when item.nth > 1 then 'already_' || ending.status
      else ending.status
    end,
    coalesce(ending.late, false),
    ending.retry_in
  from (
    select item.job_id, item.token, item.ordinality,
      row_number() over (partition by item.job_id, item.token order by item.ordinality) as nth
    from unnest(p_job_ids, p_tokens) with ordinality as item (job_id, token, ordinality)
  ) as item
  left join (
    select
      (held).job_id, (held).token, destination,
      case when destination in ('dead', 'cancelled') then destination else outcome end as status,
      (held).expires_at <= leasehold._now() as late,
      case
        when destination = 'ready' then interval '0'
        when destination = 'scheduled' then greatest(run_at - leasehold._now(), interval '0')
      end as retry_in
    from unnest(p_endings)
  ) as ending
    on ending.job_id = item.job_id
    and ending.token = item.token
  order by item.ordinality;
end;
$$;
