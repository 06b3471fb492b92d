-- catalogue: rules that hold for every object of the schema, whoever adds the next one.
begin;
select plan(45);

create temp view function as
select proc.oid, proc.proname as name, regexp_replace(proc.prosrc, '--[^\n]*', '', 'g') as code, proc.prosqlbody is not null as has_sql_body,
  proc.prosecdef, proc.proconfig, proc.proacl, proc.provolatile, language.lanname as language,
  proc.proname !~ '^_' as is_public, proc.oid::regprocedure::text as signature,
  obj_description(proc.oid, 'pg_proc') as comment
from pg_proc as proc
join pg_language as language on language.oid = proc.prolang
where proc.pronamespace = 'leasehold'::regnamespace;

create temp view relation as
select class.*, obj_description(class.oid, 'pg_class') as comment
from pg_class as class
where class.relnamespace = 'leasehold'::regnamespace
  and class.relname !~ '^migration';

-- Documented.
select isnt_empty('select from function where is_public', 'there are public functions');
select is_empty(
  $$select signature from function where is_public and (comment ~ '^\S.*\S$' and length(comment) > 40) is not true$$,
  'every public function is documented'
);
select is_empty(
  $$select signature from function where is_public and split_part(comment, chr(10), 1) !~ '[.]$'
    and split_part(comment, chr(10) || chr(10), 1) !~ '[.]$'$$,
  'the documentation of every public function begins with a sentence'
);
select is_empty(
  $$select signature, argument
    from function
    join pg_proc as proc on proc.oid = function.oid
    cross join lateral unnest(proc.proargnames) as argument
    where is_public
      and comment !~ ('\m' || argument || '\M')$$,
  'the documentation of every public function names every parameter'
);
select is_empty(
  $$select signature, argument
    from function
    join pg_proc as proc on proc.oid = function.oid
    cross join lateral unnest(proc.proargnames, proc.proargmodes) as named (argument, mode)
    where argument !~ '^p_' and coalesce(mode, 'i') = 'i'$$,
  'every parameter is named p_…'
);
select is_empty(
  $$select relname from relation where relkind in ('r', 'p', 'v') and coalesce(comment, '') = ''$$,
  'every table and view is documented'
);
select is_empty(
  $$select relation.relname
    from relation
    where relation.relkind in ('i', 'I')
      and not exists (select from pg_constraint where conindid = relation.oid)
      and coalesce(relation.comment, '') = ''$$,
  'every index that is no constraint is documented'
);
select is_empty(
  $$select type.typname
    from pg_type as type
    join pg_class as class on class.oid = type.typrelid
    where type.typnamespace = 'leasehold'::regnamespace
      and class.relkind = 'c'
      and coalesce(obj_description(type.oid, 'pg_type'), '') = ''$$,
  'every type is documented'
);
select isnt(obj_description('leasehold'::regnamespace, 'pg_namespace'), null, 'the schema is documented');

-- The path of names is pinned.
select is_empty(
  $$select signature from function
    where language = 'plpgsql'
      and 'search_path=pg_catalog, pg_temp' = any (proconfig) is not true$$,
  'every PL/pgSQL function pins its search_path to pg_catalog, pg_temp'
);
select is_empty(
  $$select signature from function
    where language = 'sql'
      and not has_sql_body
      and 'search_path=pg_catalog, pg_temp' = any (proconfig) is not true$$,
  'every SQL function whose body is a text pins its search_path too; others are bound when they are created'
);
select is_empty(
  $$select signature, setting from function cross join lateral unnest(proconfig) as setting
    where setting ~ '^search_path=' and setting <> 'search_path=pg_catalog, pg_temp'$$,
  'no function has another search_path'
);
select is_empty(
  $$select signature from function where language not in ('sql', 'plpgsql')$$, 'functions are written in SQL or PL/pgSQL'
);

select is_empty(
  $$select signature from function
    where exists (select from unnest(proconfig) as setting where setting ~ '^enable_.*=off$')
      and 'jit=off' = any (proconfig) is not true$$,
  'every function that switches a planner method off switches JIT off too: before 18 such plans look dear'
);

-- Rights.
select is_empty(
  $$select signature from function where is_public and not prosecdef and name not in ('schema_version', 'oldest_client')$$,
  'every public function runs with the rights of its owner; only two that read nothing need none'
);
select is_empty($$select signature from function where not is_public and prosecdef$$, 'no internal function runs with the rights of its owner');
select is_empty(
  $$select signature from function
    where coalesce(proacl, acldefault('f', (select proowner from pg_proc where oid = function.oid)))::text ~ '[{,]=X'$$,
  'no function may be executed by PUBLIC'
);
select is_empty(
  $$select class.relname, privilege.*
    from pg_class as class
    cross join lateral aclexplode(class.relacl) as privilege
    where class.relnamespace = 'leasehold'::regnamespace
      and privilege.grantee = 0$$,
  'no table, view or sequence gives PUBLIC a right'
);
select is_empty(
  $$select attribute.attrelid::regclass, attribute.attname
    from pg_attribute as attribute
    join pg_class as class on class.oid = attribute.attrelid
    where class.relnamespace = 'leasehold'::regnamespace
      and attribute.attacl is not null$$,
  'no column has rights of its own'
);
select is_empty(
  $$select privilege.*
    from pg_namespace as namespace
    cross join lateral aclexplode(namespace.nspacl) as privilege
    where namespace.nspname = 'leasehold' and privilege.grantee = 0$$,
  'PUBLIC has no right on the schema'
);
select is(
  (select count(*)::integer from pg_roles where rolname = 'leasehold_nobody'), 0, 'there is no role leasehold_nobody yet'
);
create role leasehold_nobody;
grant usage on schema leasehold to leasehold_nobody;
select is_empty(
  $$select signature from function where has_function_privilege('leasehold_nobody', oid, 'execute')$$,
  'a role that may use the schema may execute nothing of it'
);
select is_empty(
  $$select class.relname from pg_class as class
    where class.relnamespace = 'leasehold'::regnamespace
      and class.relkind in ('r', 'p', 'v')
      and has_table_privilege('leasehold_nobody', class.oid, 'select, insert, update, delete, truncate, references, trigger')$$,
  'nor touch any table'
);
grant execute on all functions in schema leasehold to leasehold_nobody;
grant usage on schema leasehold_test to leasehold_nobody;
grant all on all tables in schema leasehold_test to leasehold_nobody;
select leasehold.create_queue('rights');
set local role leasehold_nobody;
select lives_ok(
  $$select leasehold.enqueue('rights', '1');
    select leasehold.complete(job_id, token) from leasehold.lease_jobs(array['rights'], gen_random_uuid());
    select leasehold.tick(), leasehold.queue_stats(), leasehold.peek('rights')$$,
  'a role with no right on any table works through the functions alone'
);
reset role;

-- Bodies.
select is_empty(
  $$select signature from function where language = 'plpgsql' and code ~* '\mexecute\M'$$,
  'there is no dynamic SQL'
);
select is_empty(
  $$select signature, match[1] from function
    cross join lateral regexp_matches(regexp_replace(code, 'leasehold\._now\(\)', '', 'g'),
      '\m(now|current_timestamp|localtimestamp|statement_timestamp|transaction_timestamp|clock_timestamp|timeofday|current_date)\M', 'gi') as match
    where name <> '_now'$$,
  'no function asks another clock than _now (G6)'
);
select is_empty(
  $$select signature from function
    where code ~* '\m(pg_notify|notify)\M'
      and name <> '_notify'$$,
  'only _notify notifies'
);
select is_empty(
  $$select signature from function
    where code ~* '\m_wake\M'
      and name not in ('enqueue', '_enqueue', '_enqueue_plain', 'resume_queue', 'release_many', 'redrive', '_promote', '_reap', 'set_waiting')$$,
  'heartbeat, complete and fail wake nobody (hazard N1)'
);
select is_empty(
  $$select signature from function
    where code ~* '\m(pg_advisory|pg_try_advisory)' and name not in ('_hold_waiting', '_let_go_of_waiting', '_claim_ids', '_advance_mark')$$,
  'advisory locks, which anybody may take, decide about nothing but hints, and how far to look (hazard K3)'
);
select is_empty(
  $$select signature from function where code ~ '\\'$$, 'no body has a backslash: sessions differ in what it means'
);
select is(
  (select array_agg(distinct match[1] order by match[1]) from function
    cross join lateral regexp_matches(code, '''(LH[0-9]{3})''', 'g') as match),
  array['LH001', 'LH002', 'LH003', 'LH004', 'LH005', 'LH006', 'LH007', 'LH008', 'LH009'],
  'the SQLSTATEs that functions raise are those of the registry'
);
select is_empty(
  $$select signature, match[1] from function
    cross join lateral regexp_matches(code, 'errcode = ''([^'']+)''', 'g') as match
    where match[1] !~ '^LH00[1-9]$' and match[1] not in ('invalid_parameter_value', 'serialization_failure', 'lock_not_available')$$,
  'functions raise no other SQLSTATE than those and 22023, 40001 where cancel gives up, and 55P03 where a row stays held'
);
select is_empty(
  $$select signature, match[1], match[2]
    from function
    cross join lateral regexp_matches(comment, '(LH[0-9]{3}) ([a-z_]+)', 'g') as match
    where (match[1], match[2]) not in (
      ('LH001', 'lease_lost'), ('LH002', 'job_not_found'), ('LH003', 'job_cancelled'), ('LH004', 'job_finished'),
      ('LH005', 'queue_not_found'), ('LH006', 'isolation_not_supported'), ('LH007', 'read_only'),
      ('LH008', 'payload_too_large'), ('LH009', 'queue_not_empty')
    )$$,
  'the documentation calls each SQLSTATE by its one name'
);
select is_empty(
  $$select signature from function
    where is_public
      and (code ~ '_limit_waits|_await_holder|leasehold\._enqueue\M') <> (comment ~ '55P03')$$,
  'S08 every function that may wait for a stranger says that it raises 55P03'
);
select is_empty(
  $$select signature from function
    where is_public
      and (code ~ '_require_read_committed|_require_writable|leasehold\._enqueue') <> (comment ~ 'LH007')
      and code !~ 'leasehold\.[a-z_]+_many\('$$,
  'every function that refuses a read-only transaction says so'
);
select is_empty(
  $$select signature from function
    where is_public
      and (code ~ '_require_read_committed') <> (comment ~ 'LH006')
      and code !~ 'leasehold\.[a-z_]+_many\('$$,
  'every function that works at read committed only says so'
);

select is_empty(
  $$select signature, argument::regtype
    from function
    join pg_proc as proc on proc.oid = function.oid
    cross join lateral unnest(array_append(proc.proargtypes::oid[], proc.prorettype)) as argument
    join pg_type as type on type.oid = argument
    where is_public and type.typtype = 'p'$$,
  'S39 no public function takes or returns a pseudo-type: drivers cannot read void after it took effect'
);

-- Tables.
select is_empty(
  $$select con.conname from pg_constraint as con
    join pg_attribute as attribute on attribute.attrelid = con.conrelid and attribute.attnum = any (con.conkey)
    where con.connamespace = 'leasehold'::regnamespace
      and con.contype = 'c'
      and attribute.attname in ('payload', 'headers', 'result', 'data', 'error', 'reason', 'cancel_reason', 'token')$$,
  'no check looks at what users store: its message would show the row'
);
select is_empty(
  $$select conname from pg_constraint where connamespace = 'leasehold'::regnamespace and contype = 'f'$$,
  'there is no foreign key: a hot parent row would gather every writer''s lock'
);
select is_empty(
  $$select index.indexrelid::regclass, attribute.attname
    from pg_index as index
    join pg_attribute as attribute on attribute.attrelid = index.indrelid
    where index.indrelid = 'leasehold.lease'::regclass
      and attribute.attname in ('heartbeat_at', 'expires_at', 'cancel_requested_at', 'cancel_reason')
      and (attribute.attnum = any (index.indkey) or pg_get_indexdef(index.indexrelid) ~ ('\m' || attribute.attname || '\M'))$$,
  'no index of lease knows a column that a heartbeat changes: renewals are HOT'
);
select is(
  (select conkey from pg_constraint where conrelid = 'leasehold.lease'::regclass and contype = 'p'),
  (select array[attnum] from pg_attribute where attrelid = 'leasehold.lease'::regclass and attname = 'job_id'),
  'the primary key of lease is the job (G2)'
);
select is_empty(
  $$select con.conname from pg_constraint as con
    where con.connamespace = 'leasehold'::regnamespace and con.contype = 'c' and con.conname !~ '_(is|are|in|grows|ends|has)_|_grows$'$$,
  'the name of every check is a sentence'
);
select is_empty(
  $$select relation.relname, attribute.attname
    from relation
    join pg_attribute as attribute on attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
    where relation.relkind in ('r', 'p')
      and (attribute.attname ~ '_(at|until)$') <> (attribute.atttypid = 'timestamptz'::regtype)$$,
  'every instant is a timestamptz whose name ends in _at or _until'
);
select is_empty(
  $$select relname from relation where relkind in ('r', 'p') and relpersistence <> 'p'$$, 'every table is logged'
);
select is_empty(
  $$select relname from relation
    where relkind in ('r', 'p')
      and not exists (select from pg_constraint where conrelid = relation.oid and contype = 'p')$$,
  'S30 every table has a primary key: logical replication tells rows apart by it'
);

select * from finish();
rollback;
