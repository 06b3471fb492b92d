create or replace function leasehold.complete_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_results jsonb[] default null,
  p_brief boolean default false
)
  returns setof leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  set enable_nestloop = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_indexscan = on
as $$
declare
  v_lock_timeout text;
  v_ended record;
  v_job_ids bigint[] := array[]::bigint[];
  v_tokens uuid[] := array[]::uuid[];
  v_late bigint[] := array[]::bigint[];
  v_asked bigint[] := p_job_ids;
  v_are_locked boolean := false;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 10000);
  if p_results is not null then
    perform leasehold._require_companion('result', p_results, p_job_ids);
    perform leasehold._require_documents('result', p_results);
  end if;

  v_lock_timeout := leasehold._limit_waits();
  loop
    with ended as (
      -- One walk of the key. "Case" keeps the pairs a hash table that the planner cannot turn into a join.
      -- What another transaction has touched, and may hold, is left for the second look.
      delete from leasehold.lease as lease
      where lease.job_id = any (v_asked)
        and case when v_are_locked or lease.xmax = '0' then
          (lease.job_id, lease.token) in (
            select item.job_id, item.token from unnest(p_job_ids, p_tokens) as item (job_id, token)
          )
        end
      returning
        lease.job_id, leasehold._now() as ended_at, lease.leased_at, lease.token,
        lease.worker_id, lease.queue_id, lease.attempt, lease.releases, lease.failures,
        lease.losses, lease.priority, lease.expires_at <= leasehold._now() as late
    ), keeping as materialized (
      select queue.queue_id, queue.keep_completed
      from leasehold.queue as queue
      where queue.queue_id = any (array(select distinct ended.queue_id from ended))
        and queue.keep_completed > interval '0'
    ), kept as (
      insert into leasehold.finished (
        job_id, finished_at, keep_until, leased_at, token, worker_id, queue_id,
        attempt, releases, failures, losses, priority, late, outcome, result
      )
      select
        ended.job_id, ended.ended_at, ended.ended_at + keeping.keep_completed, ended.leased_at,
        ended.token, ended.worker_id, ended.queue_id,
        ended.attempt, ended.releases, ended.failures, ended.losses, ended.priority, ended.late,
        'completed', item.result
      from ended
      join keeping on keeping.queue_id = ended.queue_id
      left join (
        -- Of equal items the first counts, as everywhere.
        select distinct on (item.job_id, item.token) item.job_id, item.token, item.result
        from unnest(p_job_ids, p_tokens, p_results)
          with ordinality as item (job_id, token, result, ordinality)
        where p_results is not null
        order by item.job_id, item.token, item.ordinality
      ) as item
        on item.job_id = ended.job_id
        and item.token = ended.token
    )
    select
      array_agg(ended.job_id) as job_ids,
      array_agg(ended.token) as tokens,
      array_agg(ended.job_id) filter (where ended.late) as late,
      array_agg(ended.job_id) filter (
        where ended.queue_id not in (select keeping.queue_id from keeping)
      ) as not_kept,
      case min(ended.queue_id) when max(ended.queue_id) then min(ended.queue_id) end as queue_id
    into v_ended
    from ended;

    v_job_ids := v_job_ids || v_ended.job_ids;
    v_tokens := v_tokens || v_ended.tokens;
    v_late := v_late || v_ended.late;
    if v_ended.not_kept is not null then
      perform leasehold._erase(v_ended.not_kept, v_ended.queue_id);
    end if;
    exit when cardinality(v_job_ids) >= cardinality(p_job_ids) or v_are_locked;

    perform leasehold._revive(p_job_ids, p_tokens);
    select array_agg(free.job_id) into v_asked
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
    ) as free;
    exit when v_asked is null;
    v_are_locked := true;
  end loop;
  perform set_config('lock_timeout', v_lock_timeout, true);

  if cardinality(v_job_ids) = cardinality(p_job_ids) and v_late = '{}' then
    return query select item.job_id, 'completed', false, null::interval
    from unnest(p_job_ids) as item (job_id)
    where p_brief is not true;
    return;
  end if;

  return query
  select
    item.job_id,
    case
      when ended.job_id is null then case
        when leasehold._is_current(item.job_id, item.token) then 'busy'
        else leasehold._settled_status(item.job_id, item.token, true)
      end
      when item.nth > 1 then 'already_completed'
      else 'completed'
    end,
    late.job_id is not null,
    null::interval
  from (
    select item.job_id, item.token, item.ordinality,
      row_number() over (partition by item.job_id, item.token order by item.ordinality) as nth
    from unnest(p_job_ids, p_tokens) with ordinality as item (job_id, token, ordinality)
  ) as item
  left join unnest(v_job_ids, v_tokens) as ended (job_id, token)
    on ended.job_id = item.job_id
    and ended.token = item.token
  left join unnest(v_late) as late (job_id) on late.job_id = ended.job_id
  order by item.ordinality;
end;
$$;

comment on function leasehold.complete_many(bigint[], uuid[], jsonb[], boolean) is
$doc$Completes many jobs at once; each item is judged alone.

p_job_ids  the jobs, at most 10000
p_tokens   their tokens, in the same order
p_results  what the handlers returned, in the same order, each null or JSON of at most 1 MiB as text; null: nothing
p_brief    whether to return nothing where every item was completed in time, as most batches are

Returns a settlement an item, in the order given: completed, already_completed, busy, or why nothing changed:
lease_lost, job_not_found, job_cancelled, job_finished. busy means that another transaction holds the row just
now; the job was not completed, ask again.
Raises LH006 isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease rows in id order and passes over those that are held. Only for a row that another transaction locks
in that instant, it waits up to 10 seconds, then raises 55P03. Safe to repeat: the first accepted result stays.$doc$;
