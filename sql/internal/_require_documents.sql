-- Results and checkpoints: null, or JSON of at most 1 MiB as text.
create or replace function leasehold._require_documents(
  p_what text,
  p_documents jsonb[]
)
  returns void
  language plpgsql
  immutable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_bytes integer;
begin
  select max(octet_length(document::text)) into v_bytes
  from unnest(p_documents) as document;

  if v_bytes > 1048576 then
    raise exception '% must be at most 1048576 bytes, got %', p_what, v_bytes
      using errcode = 'LH008';
  end if;
end;
$$;
