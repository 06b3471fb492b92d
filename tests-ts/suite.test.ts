import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';

const run = promisify(execFile);
const ROOT = import.meta.dirname;
/** What only the server knows, and learns a moment after its cause: the number of somebody's sessions. */
const ASKED_ONCE = /expect\(\s*await\s+(?:\w+\.)*(?:sessions|connectionsOf|connectionsTo)\(/;
/** What makes a test pass that has failed, or not run. */
const EXCUSED =
  /\b(?:test|it|describe|scenario)\.(?:skip|only|todo|fails)\b|\bretry:|\.(?:skipIf|runIf)\(/;

const files = (await readdir(ROOT, { recursive: true })).filter((file) =>
  file.endsWith('.test.ts'),
);

test.each([
  ['asks the server once for what it learns a moment later', ASKED_ONCE],
  ['is skipped, run alone or repeated', EXCUSED],
])('S43 no test %s', async (_, pattern) => {
  const found: string[] = [];
  for (const file of files) {
    const text = await readFile(join(ROOT, file), 'utf8');
    for (const [index, line] of text.split('\n').entries()) {
      if (pattern.test(line)) found.push(`${file}:${index + 1}`);
    }
  }
  expect(files.length).toBeGreaterThan(20);
  expect(found).toEqual([]);
});

/** Lines that a merge has left, of SQL and Markdown too: no other check reads all of those. */
function leftByMerges(
  folder: string,
): Promise<{ readonly code?: number; readonly stdout: string }> {
  const pattern = '^(<{7}|[|]{7}|>{7}) ';
  const options = ['--no-index', '--exclude-standard', '--line-number', '-I', '-E'];
  return run('git', ['grep', ...options, pattern], { cwd: folder }).catch((error) => error);
}

test('S43 no file has lines that a merge has left', async () => {
  // Nothing was found.
  expect(await leftByMerges(join(ROOT, '..'))).toMatchObject({ code: 1, stdout: '' });

  const folder = await mkdtemp(join(tmpdir(), 'merged-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'merged.sql'), `select 1;\n${'<'.repeat(7)} HEAD\n`);
  expect(await leftByMerges(folder)).toMatchObject({ stdout: expect.stringContaining('sql:2:') });
});

test('S43 the rules of the suite find what they forbid', () => {
  expect(ASKED_ONCE.test(`expect(await ${'s.sessions'}(worker.name)).toBe(3)`)).toBe(true);
  expect(EXCUSED.test(`test.${'skip'}('not today')`)).toBe(true);
});
