-- An optional third array of a batch: absent, or one member an item.
create or replace function leasehold._require_companion(
  p_what text,
  p_values anyarray,
  p_job_ids bigint[]
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_values is null then
    return;
  end if;
  if cardinality(p_values) <> cardinality(p_job_ids) or coalesce(array_ndims(p_values), 1) <> 1 then
    raise exception 'there must be one of % for each job id, got % for % job ids',
      p_what, cardinality(p_values), cardinality(p_job_ids)
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
