-- Every batch has a limit: never null, never zero, never more than the function's maximum.
create or replace function leasehold._require_limit(
  p_limit integer,
  p_max integer
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if (p_limit between 1 and p_max) is not true then
    raise exception 'limit must be between 1 and %, got %', p_max, coalesce(p_limit::text, 'null')
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
