import type pg from 'pg';

/** One object of a schema: what it is, what it is called, and all that defines it. */
type Entry = { readonly kind: string; readonly name: string; readonly definition: string };

/**
 * Everything the catalogue holds about schema leasehold, by kind and name. Two databases with the
 * same schema have equal catalogues. The table of node-pg-migrate is left out, as are owners.
 */
export async function readCatalogue(client: pg.Client): Promise<Record<string, string>> {
  const catalogue: Record<string, string> = {};
  for (const [kind, sql] of Object.entries(QUERIES)) {
    const { rows } = await client.query<Entry>(`${COMMON} ${sql}`);
    for (const { name, definition } of rows) catalogue[`${kind} ${name}`] = definition;
  }
  return catalogue;
}

/** The objects of the schema; definitions are jsonb, which keeps nulls apart from ''. */
const COMMON = `
  with schema as (
    select oid from pg_namespace where nspname = 'leasehold'
  ), relation as (
    select class.* from pg_class as class join schema on schema.oid = class.relnamespace
    where class.relname !~ '^migration(_|$)'
  ), function as (
    select proc.*, proc.oid::regprocedure::text as signature
    from pg_proc as proc join schema on schema.oid = proc.pronamespace
  ), type as (
    select type.* from pg_type as type join schema on schema.oid = type.typnamespace
    where type.typname !~ '^_?migration$'
  )`;

const acl = (column: string) =>
  `(select array_agg(item::text order by item::text) from unnest(${column}) as item)`;

const QUERIES: Readonly<Record<string, string>> = {
  schema: `
    select nspname as name, jsonb_build_object(
      'acl', ${acl('nspacl')},
      'comment', obj_description(oid, 'pg_namespace')
    )::text as definition
    from pg_namespace where nspname = 'leasehold'`,

  relation: `
    select relation.relname as name, jsonb_build_object(
      'kind', relation.relkind,
      'persistence', relation.relpersistence,
      'replica identity', relation.relreplident,
      'row security', array[relation.relrowsecurity, relation.relforcerowsecurity],
      'options', relation.reloptions,
      'toast options', (select reloptions from pg_class where oid = relation.reltoastrelid),
      'access method', (select amname from pg_am where oid = relation.relam),
      'of', relation.reloftype::regtype,
      'partition key', pg_get_partkeydef(relation.oid),
      'partition bound', pg_get_expr(relation.relpartbound, relation.oid),
      'parents', (
        select array_agg(inhparent::regclass::text order by inhseqno)
        from pg_inherits where inhrelid = relation.oid
      ),
      'view', case when relation.relkind in ('v', 'm') then pg_get_viewdef(relation.oid) end,
      'index', case when relation.relkind in ('i', 'I') then pg_get_indexdef(relation.oid) end,
      'index state', (
        select array[indisunique, indisprimary, indisvalid, indisready, indisreplident]
        from pg_index where indexrelid = relation.oid
      ),
      'sequence', (
        select to_jsonb(sequence) - 'seqrelid' from pg_sequence as sequence
        where seqrelid = relation.oid
      ),
      'acl', ${acl('relation.relacl')},
      'comment', obj_description(relation.oid, 'pg_class')
    )::text as definition
    from relation`,

  column: `
    select relation.relname || '.' || attribute.attname as name, jsonb_build_object(
      'number', attribute.attnum,
      'type', format_type(attribute.atttypid, attribute.atttypmod),
      'not null', attribute.attnotnull,
      'identity', attribute.attidentity,
      'generated', attribute.attgenerated,
      'default', (
        select pg_get_expr(adbin, adrelid) from pg_attrdef
        where adrelid = attribute.attrelid and adnum = attribute.attnum
      ),
      'collation', attribute.attcollation::regcollation,
      'storage', attribute.attstorage,
      'compression', attribute.attcompression,
      'statistics', attribute.attstattarget,
      'options', (
        -- Some servers stamp each column with a number of their own.
        select array_agg(option) from unnest(attribute.attoptions) as option
        where option !~ '^pg_'
      ),
      'local', attribute.attislocal,
      'acl', ${acl('attribute.attacl')},
      'comment', col_description(relation.oid, attribute.attnum)
    )::text as definition
    from relation join pg_attribute as attribute on attribute.attrelid = relation.oid
    where attribute.attnum > 0 and not attribute.attisdropped`,

  constraint: `
    select coalesce(relation.relname, type.typname) || ' ' || con.conname as name,
    jsonb_build_object(
      'type', con.contype,
      'definition', pg_get_constraintdef(con.oid),
      'validated', con.convalidated,
      'comment', obj_description(con.oid, 'pg_constraint')
    )::text as definition
    from pg_constraint as con
    left join relation on relation.oid = con.conrelid
    left join type on type.oid = con.contypid
    where relation.oid is not null or type.oid is not null`,

  function: `
    select signature as name, jsonb_build_object(
      'definition', case when prokind in ('f', 'p', 'w') then pg_get_functiondef(oid) end,
      'kind', prokind,
      'source', prosrc,
      'settings', proconfig,
      'volatility', provolatile,
      'security definer', prosecdef,
      'acl', ${acl('proacl')},
      'comment', obj_description(oid, 'pg_proc')
    )::text as definition
    from function`,

  type: `
    select typname as name, jsonb_build_object(
      'kind', typtype,
      'category', typcategory,
      'base', format_type(typbasetype, typtypmod),
      'not null', typnotnull,
      'default', typdefault,
      'labels', (
        select array_agg(enumlabel::text order by enumsortorder)
        from pg_enum where enumtypid = type.oid
      ),
      'acl', ${acl('typacl')},
      'comment', obj_description(oid, 'pg_type')
    )::text as definition
    from type`,

  trigger: `
    select relation.relname || ' ' || tgname as name, jsonb_build_object(
      'definition', pg_get_triggerdef(trg.oid),
      'enabled', tgenabled,
      'comment', obj_description(trg.oid, 'pg_trigger')
    )::text as definition
    from pg_trigger as trg join relation on relation.oid = trg.tgrelid where not tgisinternal`,

  rule: `
    select relation.relname || ' ' || rulename as name, pg_get_ruledef(rule.oid) as definition
    from pg_rewrite as rule join relation on relation.oid = rule.ev_class`,

  policy: `
    select relation.relname || ' ' || polname as name, jsonb_build_object(
      'command', polcmd,
      'permissive', polpermissive,
      'roles', polroles::regrole[]::text[],
      'using', pg_get_expr(polqual, polrelid),
      'check', pg_get_expr(polwithcheck, polrelid)
    )::text as definition
    from pg_policy as policy join relation on relation.oid = policy.polrelid`,

  statistics: `
    select stxname as name, pg_get_statisticsobjdef(statistics.oid) as definition
    from pg_statistic_ext as statistics join schema on schema.oid = stxnamespace`,

  'default acl': `
    select defaclobjtype::text || ' ' || defaclrole::regrole as name,
      ${acl('defaclacl')}::text as definition
    from pg_default_acl join schema on schema.oid = defaclnamespace`,

  'row count': `
    select relation.relname as name, (
      xpath('/row/n/text()', query_to_xml(
        format('select count(*) as n from leasehold.%I', relation.relname), false, true, ''
      ))
    )[1]::text as definition
    from relation where relation.relkind = 'r'`,
};
