import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { Lane } from './support/proxy.ts';
import { until } from './support/wait.ts';

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

test('S43 what goes over a slow link arrives in order, however late its timers are', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [[peer]] = await Promise.all([once(server, 'connection'), once(socket, 'connect')]);
  let arrived = '';
  peer.on('data', (data: Buffer) => {
    arrived += data;
  });
  const lane = new Lane(socket, (bytes) => bytes / 2);
  lane.write(Buffer.from('first'));
  // As on a busy machine: it was due long ago, and its timer has yet to fire.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  lane.write(Buffer.from('2'));
  await until(() => arrived.length === 6);
  expect(arrived).toBe('first2');
  socket.end();
});
