create or replace function leasehold.complete_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_results jsonb[] default null
)
  returns setof leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
declare
  v_ended leasehold.finished[];
  v_late boolean;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 10000);
  perform leasehold._require_companion('result', p_results, p_job_ids);
  perform leasehold._require_documents('result', p_results);

  select
    array_agg(row(
      held.job_id, leasehold._now(), null, held.leased_at, held.live_until, held.token,
      held.worker_id, held.queue_id, held.attempt, held.releases, held.failures, held.losses,
      held.priority, held.expires_at <= leasehold._now(), 'completed', null, item.result
    )::leasehold.finished),
    bool_or(held.expires_at <= leasehold._now())
  into v_ended, v_late
  from leasehold._take(p_job_ids, p_tokens) as held
  left join (
    -- Of equal items the first counts, as everywhere.
    select distinct on (item.job_id, item.token) item.job_id, item.token, item.result
    from unnest(p_job_ids, p_tokens, p_results)
      with ordinality as item (job_id, token, result, ordinality)
    where p_results is not null
    order by item.job_id, item.token, item.ordinality
  ) as item
    on item.job_id = held.job_id
    and item.token = held.token;

  perform leasehold._finish(v_ended);

  if cardinality(v_ended) = cardinality(p_job_ids) and not v_late then
    return query select item.job_id, 'completed', false, null::interval
    from unnest(p_job_ids) as item (job_id);
    return;
  end if;

  return query
  select
    item.job_id,
    case
      when ended.job_id is null then leasehold._settled_status(item.job_id, item.token, true)
      when item.nth > 1 then 'already_completed'
      else 'completed'
    end,
    coalesce(ended.late, false),
    null::interval
  from (
    select item.job_id, item.token, item.ordinality,
      row_number() over (partition by item.job_id, item.token order by item.ordinality) as nth
    from unnest(p_job_ids, p_tokens) with ordinality as item (job_id, token, ordinality)
  ) as item
  left join unnest(v_ended) as ended
    on ended.job_id = item.job_id
    and ended.token = item.token
  order by item.ordinality;
end;
$$;

comment on function leasehold.complete_many(bigint[], uuid[], jsonb[]) is
$doc$Completes many jobs at once; each item is judged alone.

p_job_ids  the jobs, at most 10000
p_tokens   their tokens, in the same order
p_results  what the handlers returned, in the same order, each null or JSON of at most 1 MiB as text; null: nothing

Returns a settlement an item, in the order given: completed, already_completed, or why nothing changed:
lease_lost, job_not_found, job_cancelled, job_finished.
Raises LH006 isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease rows in id order. Safe to repeat: the first accepted result stays.$doc$;
