-- A span within its range; null passes where the caller allows it. Infinite spans are out of any range.
create or replace function leasehold._require_span(
  p_what text,
  p_value interval,
  p_min interval,
  p_max interval
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_value is not null and (p_value between p_min and p_max) is not true then
    raise exception '% must be between % and %, got %', p_what, p_min, p_max, p_value
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
