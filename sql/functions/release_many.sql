create or replace function leasehold.release_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_delays interval[] default null
)
  returns setof leasehold.settlement
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  set enable_nestloop = off
as $$
declare
  v_endings leasehold._ending[];
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_batch(p_job_ids, p_tokens, 10000);
  perform leasehold._require_companion('delay', p_delays, p_job_ids);
  if p_delays is not null then
    p_delays := array(
      select leasehold._require_span('delay', delay, interval '0', interval '3660 days')
      from unnest(p_delays) as delay
    );
  end if;

  select array_agg(row(
    held,
    case when held.cancel_requested_at is null then 'released' else 'cancelled' end,
    null,
    false,
    case
      when held.cancel_requested_at is not null then 'cancelled'
      when waits.delay > interval '0' then 'scheduled'
      else 'ready'
    end,
    held.cancel_reason,
    leasehold._now() + waits.delay
  )::leasehold._ending)
  into v_endings
  from leasehold._take(p_job_ids, p_tokens) as held
  join (
    -- Of equal items the first counts.
    select distinct on (item.job_id, item.token)
      item.job_id, item.token, coalesce(item.delay, interval '0') as delay
    from unnest(p_job_ids, p_tokens, p_delays)
      with ordinality as item (job_id, token, delay, ordinality)
    order by item.job_id, item.token, item.ordinality
  ) as item
    on item.job_id = held.job_id
    and item.token = held.token
  cross join lateral (
    select case
      when held.releases < 50 then item.delay
      else greatest(item.delay, leasehold._release_delay(held))
    end as delay
  ) as waits;

  return query select * from leasehold._answer_endings(p_job_ids, p_tokens, v_endings);

  if exists (select from unnest(v_endings) as ending where (ending.held).releases >= 100) then
    perform leasehold._trim_attempts(v_endings);
  end if;

  perform leasehold._wake((ending.held).queue_id, count(*))
  from unnest(v_endings) as ending
  where ending.destination = 'ready'
  group by (ending.held).queue_id;
end;
$$;

comment on function leasehold.release_many(bigint[], uuid[], interval[]) is
$doc$Hands many jobs back, free of charge; each item is judged alone.

p_job_ids  the jobs, at most 10000
p_tokens   their tokens, in the same order
p_delays   how long each is to wait before it may run again, 0 to 3660 days; null members and null: not at all

Returns a settlement an item, in the order given: released, cancelled (a cancel had been asked for), already_…,
busy, or why nothing changed: lease_lost, job_not_found, job_cancelled, job_finished. Retires the tokens.
busy means that another transaction holds the row just now; nothing was settled, ask again.
A job that is released within a minute of its lease more than fifty times in a row waits by the queue's backoff, longer
with every time, of a base of a second at least. Of one released so often the last hundred attempts are kept,
and answer repeated calls.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the lease rows in id order and waits for none. Safe to repeat.$doc$;
