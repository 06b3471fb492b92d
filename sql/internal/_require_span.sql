-- A span within its range, as a number of hours, minutes and seconds, so that its days are 24 hours long whatever
-- the session's time zone; null passes where the caller allows it. Infinite spans are out of any range.
create or replace function leasehold._require_span(
  p_what text,
  p_value interval,
  p_min interval,
  p_max interval
)
  returns interval
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_value is not null and (p_value between p_min and p_max) is not true then
    raise exception '% must be between % and %, got %', p_what, p_min, p_max, p_value
      using errcode = 'invalid_parameter_value';
  end if;
  return leasehold._hours(p_value);
end;
$$;
