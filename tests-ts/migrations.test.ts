import { appendFile, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { begin, check, freeze, refresh } from '../scripts/migrations.ts';

const TABLE = 'create table leasehold.job (job_id bigint);\n';
const FUNCTION = 'create or replace function leasehold.f() returns int language sql return 1;\n';
const GRANTS = 'revoke all on schema leasehold from public;\n';

let root: string;

const at = (path: string) => join(root, path);

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'leasehold-migrations-'));
  const files = {
    'sql/install.sql':
      '-- Group: all\n\\ir tables/job.sql\n\\ir functions/f.sql\n\\ir grants.sql\n',
    'sql/tables/job.sql': TABLE,
    'sql/functions/f.sql': FUNCTION,
    'sql/grants.sql': GRANTS,
    'migrations/.sha256': '',
  };
  for (const [path, text] of Object.entries(files)) {
    await cp(import.meta.filename, at(path), { recursive: true });
    await writeFile(at(path), text);
  }
});

afterEach(() => rm(root, { recursive: true, force: true }));

describe('the first migration', () => {
  test('is a snapshot of everything in load order', async () => {
    expect(await begin('install', root)).toBe('0001_install.sql');
    const text = await readFile(at('migrations/0001_install.sql'), 'utf8');
    expect(text).toContain(
      [
        `-- begin sql/tables/job.sql\n${TABLE}-- end sql/tables/job.sql\n`,
        `-- begin sql/functions/f.sql\n${FUNCTION}-- end sql/functions/f.sql\n`,
        `-- begin sql/grants.sql\n${GRANTS}-- end sql/grants.sql\n`,
      ].join('\n'),
    );
    expect(await check(root)).toEqual([]);
  });

  test('is out of date once sql/ changes, until it is refreshed', async () => {
    await begin('install', root);
    await appendFile(at('sql/tables/job.sql'), 'comment on table leasehold.job is $$A job.$$;\n');
    expect(await check(root)).toEqual([
      '0001_install.sql: not what sql/ gives; run npm run migration:refresh',
    ]);
    await refresh(root);
    expect(await check(root)).toEqual([]);
  });

  test('has to be released before a second one begins', async () => {
    await begin('install', root);
    await expect(begin('more', root)).rejects.toThrow('0001_install.sql is not released yet');
  });
});

describe('a released migration', () => {
  beforeEach(async () => {
    await begin('install', root);
    await freeze(root);
  });

  test('may not change', async () => {
    await appendFile(at('migrations/0001_install.sql'), '-- one more thing\n');
    expect(await check(root)).toEqual([
      '0001_install.sql: changed after its release; put the change into a new migration',
    ]);
  });

  test('may not disappear', async () => {
    await rm(at('migrations/0001_install.sql'));
    expect(await check(root)).toEqual(['0001_install.sql: released, but no longer there']);
  });

  test('is not refreshed', async () => {
    await expect(refresh(root)).rejects.toThrow('every migration is released');
  });

  test('asks for a new one when sql/ changes', async () => {
    await writeFile(at('sql/functions/f.sql'), FUNCTION.replace('1', '2'));
    expect(await check(root)).toEqual([
      'no migration for sql/functions/f.sql; run npm run migration:new NAME',
    ]);
  });
});

describe('a later migration', () => {
  beforeEach(async () => {
    await begin('install', root);
    await freeze(root);
    await writeFile(at('sql/functions/f.sql'), FUNCTION.replace('1', '2'));
    await appendFile(at('sql/tables/job.sql'), 'comment on table leasehold.job is $$A job.$$;\n');
    await begin('more', root);
  });

  test('holds the bodies that changed and the grants, and names the tables to change by hand', async () => {
    const text = await readFile(at('migrations/0002_more.sql'), 'utf8');
    expect(text).toContain('-- begin sql/functions/f.sql');
    expect(text).toContain('-- begin sql/grants.sql');
    expect(text).not.toContain('-- begin sql/tables/job.sql');
    expect(text).toMatch(/^-- by hand sql\/tables\/job\.sql [0-9a-f]{64}$/m);
  });

  test('keeps what is written by hand when it is refreshed', async () => {
    const file = at('migrations/0002_more.sql');
    const text = await readFile(file, 'utf8');
    const byHand = 'comment on table leasehold.job is $$A job.$$;\n';
    await writeFile(file, byHand + text);
    await writeFile(at('sql/functions/f.sql'), FUNCTION.replace('1', '3'));
    await refresh(root);
    expect(await readFile(file, 'utf8')).toBe(byHand + text.replace('return 2', 'return 3'));
  });

  test('leaves nothing to do once it is released', async () => {
    await freeze(root);
    expect(await check(root)).toEqual([]);
  });
});

describe('check', () => {
  test('finds a file that node-pg-migrate would take for a migration', async () => {
    await begin('install', root);
    await writeFile(at('migrations/README.md'), 'About this folder\n');
    expect(await check(root)).toContain('README.md: not a name like 0001_install.sql');
  });

  test('finds a comment that node-pg-migrate would cut the file at', async () => {
    await appendFile(at('sql/functions/f.sql'), '-- Down migration needs care\n');
    await begin('install', root);
    expect(await check(root)).toEqual([
      '0001_install.sql: node-pg-migrate takes a comment in it for an up or down marker',
    ]);
  });

  test('finds a file of sql/ that the manifest forgets', async () => {
    await begin('install', root);
    await writeFile(at('sql/functions/g.sql'), FUNCTION);
    await expect(check(root)).rejects.toThrow('does not include sql/functions/g.sql');
  });
});
