create or replace function leasehold.dead_letter_many(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_reasons text[] default null
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
  perform leasehold._require_companion('reason', p_reasons, p_job_ids);

  select array_agg(row(
    held, 'dead_lettered', item.reason, false, 'dead', coalesce(item.reason, 'dead_lettered'), null
  )::leasehold._ending)
  into v_endings
  from leasehold._take(p_job_ids, p_tokens) as held
  join (
    -- Of equal items the first counts. A text is cut before it is copied from row to row.
    select distinct on (item.job_id, item.token)
      item.job_id, item.token, left(item.reason, 16384) as reason
    from unnest(p_job_ids, p_tokens, p_reasons)
      with ordinality as item (job_id, token, reason, ordinality)
    order by item.job_id, item.token, item.ordinality
  ) as item
    on item.job_id = held.job_id
    and item.token = held.token;

  return query select * from leasehold._answer_endings(p_job_ids, p_tokens, v_endings);
end;
$$;

comment on function leasehold.dead_letter_many(bigint[], uuid[], text[]) is
$doc$Gives many jobs up: they are dead, and kept for a person to look at; each item is judged alone.

p_job_ids  the jobs, at most 10000
p_tokens   their tokens, in the same order
p_reasons  why, in the same order; cut to 16384 characters; null: nothing said

Returns a settlement an item, in the order given: dead, already_…, busy, or why nothing changed: lease_lost,
job_not_found, job_cancelled, job_finished. Retires the tokens and spends no budget.
busy means that another transaction holds the row just now; nothing was settled, ask again.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.
Locks the lease rows in id order and waits for none. Safe to repeat. redrive takes the jobs back.$doc$;
