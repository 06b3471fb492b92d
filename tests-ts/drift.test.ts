import { beforeAll, describe, expect, test } from 'vitest';
import { migrate } from '../client/migrate.ts';
import { installSql, readManifest } from '../scripts/manifest.ts';
import { readCatalogue } from './support/catalogue.ts';
import { createBareDatabase, withClient } from './support/database.ts';

const fromManifest = await createBareDatabase();
const fromMigrations = await createBareDatabase();

beforeAll(async () => {
  await withClient(fromManifest, async (client) => client.query(await installSql()));
  await migrate({ connection: fromMigrations });
});

describe('the migrations', () => {
  test('lead to the schema that sql/ describes', async () => {
    const expected = await withClient(fromManifest, readCatalogue);
    const actual = await withClient(fromMigrations, readCatalogue);
    expect(actual).toEqual(expected);
  });
});

describe('the names', () => {
  /** Functions as `\df leasehold.PATTERN` lists them. */
  const listed = async (pattern: string): Promise<string[]> => {
    const { rows } = await withClient(fromManifest, (client) =>
      client.query(
        `select distinct proname from pg_proc
         where pronamespace = 'leasehold'::regnamespace and proname ~ $1`,
        [pattern],
      ),
    );
    return rows.map((row) => String(row.proname)).sort();
  };

  const files = async (folder: string, kind: RegExp): Promise<string[]> =>
    (await readManifest())
      .filter(({ path, sql }) => path.startsWith(folder) && kind.test(sql))
      .map(({ path }) => path.slice(folder.length, -'.sql'.length))
      .sort();

  test('S42 tell functions for callers, which begin with a letter, from all others', async () => {
    const functions = /create or replace function/;
    expect(await listed('^([a-z].*)$')).toEqual(await files('sql/functions/', functions));
    expect(await listed('^_')).toEqual(await files('sql/internal/', functions));
    expect(await listed('^[^a-z_]')).toEqual([]);
  });
});

describe('the comparison', () => {
  test('covers tables, columns, functions, constraints, indexes, types and comments', async () => {
    const catalogue = await withClient(fromManifest, readCatalogue);
    const kinds = new Set(Object.keys(catalogue).map((key) => key.split(' ')[0]));
    expect([...kinds]).toEqual(
      expect.arrayContaining(['schema', 'relation', 'column', 'constraint', 'function', 'type']),
    );
    expect(catalogue['relation job']).toMatch(/"comment": "\w/);
    expect(Object.keys(catalogue).filter((key) => / migration/.test(key))).toEqual([]);
  });

  test.each([
    ['a default', 'alter table leasehold.job alter column priority set default 9'],
    ['a comment', "comment on table leasehold.job is 'something else'"],
    ['a storage option', 'alter table leasehold.lease set (fillfactor = 71)'],
    ['a right', 'grant execute on function leasehold._now() to public'],
    ['a function setting', "alter function leasehold.schema_version() set work_mem = '1MB'"],
    ['an index', 'create index on leasehold.job (job_id)'],
    ['a row', 'delete from leasehold.upkeep'],
  ])('notices that %s differs', async (_, change) => {
    await withClient(fromManifest, async (client) => {
      const before = await readCatalogue(client);
      await client.query('begin');
      await client.query(change);
      expect(await readCatalogue(client)).not.toEqual(before);
      await client.query('rollback');
    });
  });
});
