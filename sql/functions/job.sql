create or replace function leasehold.job(
  p_job_id bigint,
  p_history_before integer default null
)
  returns leasehold.job_info
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_info leasehold.job_info;
begin
  if p_job_id is null then
    raise exception 'job id must not be null' using errcode = 'invalid_parameter_value';
  end if;

  select info.* into v_info from leasehold._job_infos(array[p_job_id], 100, p_history_before, 16384) as info;
  if not found then
    perform leasehold._raise_lost(p_job_id, 'job_not_found');
  end if;
  return v_info;
end;
$$;

comment on function leasehold.job(bigint, integer) is
$doc$Everything about one job: where it is, who holds it for how long, its attempts, checkpoint and result.

p_job_id          the job
p_history_before  show the history before this attempt; null: the end of it

The history has the newest 100 entries; for those before them, name the attempt of the first one.

Raises LH002 job_not_found, 22023. Never shows a token.$doc$;
