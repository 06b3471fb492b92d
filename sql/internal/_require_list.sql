-- Names or ids that come as a list: one dimension, no nulls.
create or replace function leasehold._require_list(
  p_what text,
  p_list anyarray
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_list is null then
    raise exception '% must not be null', p_what using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(array_ndims(p_list), 1) <> 1 then
    raise exception '% must be a one-dimensional array', p_what
      using errcode = 'invalid_parameter_value';
  end if;
  if array_position(p_list, null) is not null then
    raise exception '% must not contain nulls', p_what using errcode = 'invalid_parameter_value';
  end if;
end;
$$;
