-- The end of the line of these jobs that weighs too much; not the first where that one is kept. A function of its
-- own, so that a call of lease_jobs whose jobs weigh little does not pay for its plan.
create or replace function leasehold._excess(
  p_job_ids bigint[],
  p_bytes integer,
  p_keep_first boolean
)
  returns bigint[]
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select heavy.job_id
    from (
      select
        job.job_id,
        weight.bytes as own,
        sum(weight.bytes) over (order by job.priority, job.job_id) as bytes
      from leasehold.job as job
      cross join lateral (
        select coalesce(job.bytes, 256) + coalesce(
          (
            select octet_length(checkpoint.data::text)
            from leasehold.checkpoint as checkpoint
            where checkpoint.job_id = job.job_id
          ),
          0
        ) as bytes
      ) as weight
      where job.job_id = any (p_job_ids)
    ) as heavy
    where heavy.bytes > p_bytes
      and (heavy.bytes > heavy.own or not p_keep_first)
  );
end;
$$;
