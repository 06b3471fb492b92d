-- Job ids and tokens come as two arrays of one length; anything else is refused whole.
create or replace function leasehold._require_batch(
  p_job_ids bigint[],
  p_tokens uuid[],
  p_max integer
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_job_ids is null or p_tokens is null then
    raise exception 'job ids and tokens must not be null'
      using errcode = 'invalid_parameter_value';
  end if;
  if cardinality(p_job_ids) <> cardinality(p_tokens) then
    raise exception 'there must be one token for each job id, got % job ids and % tokens',
      cardinality(p_job_ids), cardinality(p_tokens)
      using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(array_ndims(p_job_ids), 1) <> 1 or coalesce(array_ndims(p_tokens), 1) <> 1 then
    raise exception 'job ids and tokens must be one-dimensional arrays'
      using errcode = 'invalid_parameter_value';
  end if;
  if cardinality(p_job_ids) > p_max then
    raise exception 'a batch may have at most % items, got %', p_max, cardinality(p_job_ids)
      using errcode = 'invalid_parameter_value';
  end if;
  if array_position(p_job_ids, null) is not null or array_position(p_tokens, null) is not null then
    raise exception 'job ids and tokens must not contain nulls'
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
