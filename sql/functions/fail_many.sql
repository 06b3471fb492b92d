create or replace function leasehold.fail_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_errors text[] default null,
  p_retry_in interval[] default null,
  p_retryable boolean[] default null
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
  perform leasehold._require_companion('error', p_errors, p_job_ids);
  perform leasehold._require_companion('delay', p_retry_in, p_job_ids);
  perform leasehold._require_companion('retryable', p_retryable, p_job_ids);
  if p_retry_in is not null then
    p_retry_in := array(
      select leasehold._require_span('retry delay', delay, interval '0', interval '3660 days')
      from unnest(p_retry_in) as delay
    );
  end if;

  select array_agg(row(
    verdict.held,
    case when verdict.cancelled then 'cancelled' else 'failed' end,
    verdict.error,
    not verdict.cancelled,
    case
      when verdict.cancelled then 'cancelled'
      when verdict.reason is not null then 'dead'
      when verdict.delay > interval '0' then 'scheduled'
      else 'ready'
    end,
    case when verdict.cancelled then (verdict.held).cancel_reason else verdict.reason end,
    leasehold._now() + verdict.delay
  )::leasehold._ending)
  into v_endings
  from (
    select
      held,
      item.error,
      held.cancel_requested_at is not null as cancelled,
      case
        when item.retryable is false then 'not_retryable'
        when held.failures + 1 < budget.max_failures then null
        -- The word for it that reap_expired uses too.
        when item.error = 'max_runtime_exceeded' then item.error
        else 'max_failures_exceeded'
      end as reason,
      coalesce(
        item.delay, leasehold._backoff(budget.backoff_base, budget.backoff_max, held.failures)
      ) as delay
    from leasehold._take(p_job_ids, p_tokens) as held
    join (
      -- Of equal items the first counts. A text is cut before it is copied from row to row.
      select distinct on (item.job_id, item.token)
        item.job_id, item.token, left(item.error, 16384) as error, item.delay, item.retryable
      from unnest(p_job_ids, p_tokens, p_errors, p_retry_in, p_retryable)
        with ordinality as item (job_id, token, error, delay, retryable, ordinality)
      order by item.job_id, item.token, item.ordinality
    ) as item
      on item.job_id = held.job_id
      and item.token = held.token
    cross join lateral leasehold._budget(held.job_id) as budget
  ) as verdict;

  return query select * from leasehold._answer_endings(p_job_ids, p_tokens, v_endings);
end;
$$;

comment on function leasehold.fail_many(bigint[], uuid[], text[], interval[], boolean[]) is
$doc$Says of many jobs that their handlers failed; each item is judged alone.

p_job_ids    the jobs, at most 10000
p_tokens     their tokens, in the same order
p_errors     what went wrong, in the same order; cut to 16384 characters; null: nothing said
p_retry_in   delay before the next attempt, 0 to 3660 days; null: the queue's backoff
p_retryable  false: do not try again; null: try again

Returns a settlement an item, in the order given: failed (it will run again, after retry_in), dead (budget
spent, or not retryable), cancelled (a cancel had been asked for), already_…, busy, or why nothing changed.
busy means that another transaction holds the row just now; nothing was settled, ask again.
The error max_runtime_exceeded, if it spends the budget, is the reason why the job is dead.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the lease rows in id order and waits for none. Safe to repeat.$doc$;
