create or replace function leasehold.tick()
  returns leasehold.tick_answer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_answer leasehold.tick_answer;
begin
  perform leasehold._require_read_committed();

  v_answer.promoted := leasehold.promote_due();
  v_answer.reaped := case
    when leasehold._is_due('reap', interval '500 milliseconds') then leasehold.reap_expired()
    else 0
  end;
  v_answer.pruned := case
    when leasehold._is_due('prune', interval '1 minute') then leasehold.prune()
    else 0
  end;

  select greatest(scheduled.run_at - leasehold._now(), interval '0') into v_answer.next_due_in
  from leasehold.scheduled as scheduled
  order by scheduled.run_at
  limit 1;
  select count(*)::integer into v_answer.workers
  from leasehold.worker as worker
  where worker.heartbeat_at > leasehold._now() - interval '1 minute';
  return v_answer;
end;
$$;

comment on function leasehold.tick() is
$doc$One round of maintenance: promote_due always, reap_expired at most twice a second, prune once a minute,
however many processes call it. Call it about once a second, from any process or pg_cron.

Returns what it did, the span until the next scheduled job is due, and how many workers there are to call it.
Raises LH006 isolation_not_supported, LH007 read_only. Several at once do no harm; there is no leader.$doc$;
