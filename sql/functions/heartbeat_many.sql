create or replace function leasehold.heartbeat_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_extend interval default null,
  p_checkpoints jsonb[] default null
)
  returns setof leasehold.heartbeat_answer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- Items and locked leases meet in a hash join, whatever the planner thinks of array lengths.
  set jit = off
  set enable_nestloop = off
  set enable_seqscan = off
as $$
declare
  v_called_at timestamptz := leasehold._now();
  v_renewed record;
  v_held bigint[];
  v_rest_ids bigint[];
  v_rest_tokens uuid[];
  v_locked bigint[];
  v_expired bigint[];
  v_revived boolean := false;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 100000);
  p_extend := leasehold._require_span('extension', p_extend, interval '1 second', interval '1 day');
  perform leasehold._require_companion('checkpoint', p_checkpoints, p_job_ids);
  perform leasehold._require_documents('checkpoint', p_checkpoints);

  v_renewed := leasehold._renew(p_job_ids, p_tokens, p_extend);
  v_held := v_renewed.job_ids;

  if v_held is distinct from p_job_ids then
    select array_agg(item.job_id), array_agg(item.token) into v_rest_ids, v_rest_tokens
    from unnest(p_job_ids, p_tokens) as item (job_id, token)
    left join unnest(v_held) as held (job_id) on held.job_id = item.job_id
    where held.job_id is null;

    loop
      -- A row that a transaction holds, one that completes the job say, must not hold up the other
      -- renewals: it is skipped, and answered as busy.
      select
        array_agg(held.job_id),
        array_agg(held.job_id) filter (where held.expires_at <= v_called_at)
      into v_locked, v_expired
      from (
        select item.job_id, item.token
        from unnest(v_rest_ids, v_rest_tokens) as item (job_id, token)
        order by item.job_id
      ) as item
      cross join lateral (
        select lease.job_id, lease.expires_at
        from leasehold.lease as lease
        where lease.job_id = item.job_id
          and lease.token = item.token
        for no key update skip locked
      ) as held;

      exit when v_revived
        or v_rest_ids is null
        or cardinality(v_locked) >= cardinality(v_rest_ids)
        or not leasehold._revive(v_rest_ids, v_rest_tokens);
      v_revived := true;
    end loop;

    update leasehold.lease as lease
    set
      heartbeat_at = leasehold._now(),
      expires_at = leasehold._extended(lease, p_extend)
    where lease.job_id = any (v_locked);

    v_held := v_held || v_locked;
  end if;

  if p_checkpoints is not null then
    perform leasehold._save_checkpoints(
      array_agg(item.job_id), array_agg(item.data)
    )
    from (
      select distinct on (item.job_id) item.job_id, item.data
      from unnest(p_job_ids, p_tokens, p_checkpoints)
        with ordinality as item (job_id, token, data, ordinality)
      join leasehold.lease as lease on lease.job_id = item.job_id and lease.token = item.token
      where item.data is not null
        and lease.job_id = any (v_held)
      order by item.job_id, item.ordinality desc
    ) as item;
  end if;

  if v_renewed.job_ids = p_job_ids then
    return query
    select
      item.job_id, 'ok', item.expires_at - leasehold._now(),
      item.cancel_requested_at is not null, item.cancel_reason
    from unnest(v_renewed.job_ids, v_renewed.expiries, v_renewed.cancels, v_renewed.reasons)
      as item (job_id, expires_at, cancel_requested_at, cancel_reason);
    return;
  end if;

  return query
  select
    answer.job_id,
    answer.status,
    answer.remaining,
    case answer.status
      when 'lost' then leasehold._settled_status(answer.job_id, answer.token, true) = 'job_cancelled'
      else coalesce(answer.cancel_requested, false)
    end,
    answer.cancel_reason
  from (
    select
      item.job_id,
      item.token,
      item.ordinality,
      case
        when held.job_id is null then case
          when leasehold._is_current(item.job_id, item.token) then 'busy'
          else 'lost'
        end
        when expired.job_id is null then 'ok'
        else 'revived'
      end as status,
      lease.expires_at - leasehold._now() as remaining,
      lease.cancel_requested_at is not null as cancel_requested,
      lease.cancel_reason
    from unnest(p_job_ids, p_tokens) with ordinality as item (job_id, token, ordinality)
    left join leasehold.lease as lease
      on lease.job_id = item.job_id
      and lease.token = item.token
      and lease.job_id = any (p_job_ids)
    left join (select distinct job_id from unnest(v_held) as job_id) as held
      on held.job_id = lease.job_id
    left join (select distinct job_id from unnest(v_expired) as job_id) as expired
      on expired.job_id = lease.job_id
  ) as answer
  order by answer.ordinality;
end;
$$;

comment on function leasehold.heartbeat_many(bigint[], uuid[], interval, jsonb[]) is
$doc$Renews many leases at once; each item is judged alone.

p_job_ids      the jobs to keep, at most 100000
p_tokens       their tokens, in the same order
p_extend       new length counted from now, 1 second to 1 day; null: the length asked for at lease time
p_checkpoints  what to resume from, in the same order, null members leave the last one; null: none at all

Returns an answer an item, in the order given: ok, revived, busy or lost. busy means that another
transaction holds the row just now; it was not renewed, ask again. A lost item whose job was cancelled
has cancel_requested set.
Raises LH006 isolation_not_supported, LH007 read_only, LH008 payload_too_large, 22023.
Locks the lease rows in id order and waits for none longer than 100 ms. Fastest with the ids in ascending
order. Safe to repeat.$doc$;
