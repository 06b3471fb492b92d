create or replace function leasehold.purge_queue(
  p_queue text,
  p_limit integer default 10000
)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 100000);
  v_queue := leasehold._queue(p_queue);

  return cardinality(leasehold._withdraw(
    array(
      select live.job_id
      from leasehold._live as live
      where live.queue_id = v_queue.queue_id
        and live.state <> 'leased'
      limit p_limit
    ),
    null,
    null
  ));
end;
$$;

comment on function leasehold.purge_queue(text, integer) is
$doc$Removes jobs of a queue that nobody works on, without a trace: scheduled, ready and blocked ones.

p_queue  the queue to purge
p_limit  most jobs to remove in this call, 1 to 100000

Returns how many it removed; call again until it is 0. Leased jobs go on, those that another transaction
holds are left alone, and finished ones stay until their retention ends. queue_stats counts what was removed as pruned.
Raises LH005 queue_not_found, LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
