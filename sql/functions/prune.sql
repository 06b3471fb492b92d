create or replace function leasehold.prune(p_limit integer default 10000)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
  v_task record;
  v_pruned integer := 0;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 100000);

  foreach v_name in array array['finished', 'dropped', 'dedup', 'request', 'worker', 'tally', 'mark'] loop
    select task.* into v_task
    from leasehold._maintain(v_name, p_limit, interval '1 day', true) as task;
    if v_name = 'finished' then
      v_pruned := v_task.done;
    end if;
    exit when v_task.is_cancelled;
  end loop;
  return v_pruned;
end;
$$;

comment on function leasehold.prune(integer) is
$doc$Removes what is past its time: finished jobs after their retention with all that belongs to them, dedup
keys, remembered requests, workers not seen for a day. tick does the same, a little at a time.

p_limit  most jobs to remove, 1 to 100000

Returns how many jobs it removed. It passes over jobs that somebody holds. What fails is undone and left for the
next call, with a warning; the rest is kept. Any process may run it, several at once do no harm.
Raises LH006 isolation_not_supported, LH007 read_only, 22023.$doc$;
