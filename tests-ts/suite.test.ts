import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';

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

test('S43 the rules of the suite find what they forbid', () => {
  expect(ASKED_ONCE.test(`expect(await ${'s.sessions'}(worker.name)).toBe(3)`)).toBe(true);
  expect(EXCUSED.test(`test.${'skip'}('not today')`)).toBe(true);
});
