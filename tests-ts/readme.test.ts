import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client } from '../client/index.ts';
import { packageRoot } from '../client/package-root.ts';
import { createBareDatabase, createDatabase, withClient } from './support/database.ts';
import { until } from './support/wait.ts';

const run = promisify(execFile);

describe('README', () => {
  const database = createDatabase();
  const bareDatabase = createBareDatabase();
  let readme = '';
  let folder = '';

  beforeAll(async () => {
    readme = await readFile(join(packageRoot(), 'README.md'), 'utf8');
    // Inside the package, so that the example's import of "leasehold" finds the build of this one.
    await mkdir(join(packageRoot(), '.leasehold'), { recursive: true });
    folder = await mkdtemp(join(packageRoot(), '.leasehold/readme-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('has an SQL example that completes its job', async () => {
    await withClient(await database, async (db) => {
      await db.query(example(readme, 'sql'));
      const { rows } = await db.query('select state, result from leasehold.peek($1, $2)', [
        'render',
        'completed',
      ]);
      expect(rows).toEqual([{ state: 'completed', result: { frames: 48 } }]);
    });
  });

  it('has a TypeScript example that migrates, enqueues and completes its job', async () => {
    const url = await bareDatabase;
    await run(process.execPath, [
      join(packageRoot(), 'node_modules/typescript/bin/tsc'),
      ...['-p', join(packageRoot(), 'tsconfig.build.json')],
    ]);
    const file = join(folder, 'example.ts');
    await writeFile(file, example(readme, 'ts'));

    const child = spawn(process.execPath, ['--import', 'tsx', file], {
      env: { ...process.env, DATABASE_URL: url },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const pool = new pg.Pool({ connectionString: url });
    try {
      const client = new Client(pool);
      const completed = () => client.peek('render', { state: 'completed' }).catch(() => []);
      await until(async () => (await completed()).length > 0);
      const [job] = await completed();
      expect(job?.result).toEqual({ frames: 48 });
      expect(job?.checkpoint).toEqual({ frame: 47 });
    } finally {
      child.kill('SIGKILL');
      await pool.end();
    }
  });

  it('shows how to begin before its sixtieth line', () => {
    const lines = readme.split('\n');
    expect(lines.findIndex((line) => line.startsWith('npm ci && npm start'))).toBeLessThan(60);
    expect(lines.findIndex((line) => line.startsWith('```ts'))).toBeLessThan(60);
  });
});

/** The first fenced block of a language. */
function example(text: string, language: string): string {
  const block = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'm').exec(text)?.[1];
  if (block === undefined) throw new Error(`README.md has no ${language} example`);
  return block;
}
