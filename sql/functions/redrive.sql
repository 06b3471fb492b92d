create or replace function leasehold.redrive(
  p_job_ids bigint[] default null,
  p_queue text default null,
  p_limit integer default 1000
)
  returns setof bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_queue leasehold.queue;
  v_redriven integer;
begin
  perform leasehold._require_read_committed();
  perform leasehold._require_limit(p_limit, 10000);
  if (p_job_ids is null) = (p_queue is null) then
    raise exception 'name either job ids or a queue' using errcode = 'invalid_parameter_value';
  end if;
  if p_job_ids is not null then
    perform
      leasehold._require_list('job ids', p_job_ids),
      leasehold._require_number('number of job ids', cardinality(p_job_ids), 0, p_limit);
  end if;
  if p_queue is not null then
    v_queue := leasehold._queue(p_queue);
  end if;

  return query
  with wanted as materialized (
    select finished.queue_id, finished.job_id, finished.keep_until
    from leasehold.finished as finished
    join leasehold.job as job
      on job.queue_id = finished.queue_id
      and job.job_id = finished.job_id
    join leasehold.queue as queue
      on queue.queue_id = finished.queue_id
      and queue.dropped_at is null
    where finished.outcome = 'dead'
      and (p_job_ids is null or finished.job_id = any (p_job_ids))
      and (p_queue is null or finished.queue_id = v_queue.queue_id)
    order by finished.job_id
    limit p_limit
  ), risen as (
    delete from leasehold.finished as finished
    using wanted
    where finished.keep_until = wanted.keep_until
      and finished.queue_id = wanted.queue_id
      and finished.job_id = wanted.job_id
    returning finished.*
  ), renewed as (
    update leasehold.job as job
    set generation = job.generation + 1
    from risen
    where job.job_id = risen.job_id
  )
  -- A new generation has all its budgets; attempts go on counting, so the fence never falls.
  insert into leasehold.ready (job_id, queue_id, attempt, releases, failures, losses, priority)
  select risen.job_id, risen.queue_id, risen.attempt, 0, 0, 0, risen.priority
  from risen
  returning job_id;

  get diagnostics v_redriven = row_count;
  if v_redriven > 0 then
    perform leasehold._wake(job.queue_id, count(*))
    from leasehold.job as job
    where job.job_id = any (p_job_ids)
    group by job.queue_id;
    if p_queue is not null then
      perform leasehold._wake(v_queue.queue_id, v_redriven);
    end if;
  end if;
end;
$$;

comment on function leasehold.redrive(bigint[], text, integer) is
$doc$Puts dead jobs back in line as a new generation: all budgets whole, no time to live, history kept.

p_job_ids  the dead jobs, at most p_limit; or
p_queue    any dead jobs of this queue, oldest first
p_limit    most jobs to put back, 1 to 10000

Returns the ids of the jobs it put back; jobs that are not dead, or whose queue was dropped,
are left alone.
Raises LH005 queue_not_found, LH006 isolation_not_supported, LH007 read_only, 22023. Safe to repeat.$doc$;
