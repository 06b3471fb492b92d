/**
 * Runs the pgTAP tests: each file of tests-sql/ in a database of its own, several at a time.
 *
 *   tsx scripts/test-sql.ts [PART OF A FILE NAME]...
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../client/package-root.ts';
import {
  cloneDatabase,
  createTemplate,
  databaseUrl,
  dropDatabase,
  startTestServer,
  withClient,
} from '../tests-ts/support/server.ts';
import { pgtapSql } from './pgtap.ts';
import { judge, runScript, type Verdict } from './tap.ts';

interface Outcome extends Verdict {
  readonly file: string;
  readonly elapsedMs: number;
}

const FOLDER = join(packageRoot(), 'tests-sql');
const PARALLEL = 3;
const STATEMENT_TIMEOUT = '60s';

async function main(filters: readonly string[]): Promise<boolean> {
  const files = (await readdir(FOLDER))
    .filter((file) => file.endsWith('.sql'))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .sort();
  const server = await startTestServer();
  try {
    const scripts = [await pgtapSql(), ...(await supportScripts())];
    const template = await createTemplate(server.url, scripts);
    try {
      return summarize(await runAll(files, (file) => runFile(file, server.url, template)));
    } finally {
      await dropDatabase(server.url, template);
    }
  } finally {
    await server.stop();
  }
}

async function supportScripts(): Promise<string[]> {
  const folder = join(FOLDER, 'support');
  const files = (await readdir(folder)).filter((file) => file.endsWith('.sql')).sort();
  return Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
}

async function runAll(
  files: readonly string[],
  run: (file: string) => Promise<Outcome>,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const waiting = [...files];
  const lane = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const outcome = await run(file);
      outcomes.push(outcome);
      report(outcome);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, lane));
  return outcomes;
}

async function runFile(file: string, url: string, template: string): Promise<Outcome> {
  const started = performance.now();
  const sql = await readFile(join(FOLDER, file), 'utf8');
  const database = await cloneDatabase(url, template);
  try {
    const run = await withClient(databaseUrl(url, database), async (client) => {
      await client.query(`set statement_timeout = '${STATEMENT_TIMEOUT}'`);
      return runScript(client, sql);
    });
    return { file, ...judge(run), elapsedMs: performance.now() - started };
  } finally {
    await dropDatabase(url, database);
  }
}

function report({ file, passed, failures, elapsedMs }: Outcome): void {
  const verdict = failures.length === 0 ? 'ok  ' : 'FAIL';
  console.log(`${verdict} ${file}: ${passed} passed (${Math.round(elapsedMs)} ms)`);
  for (const failure of failures) console.log(failure.replaceAll(/^/gm, '     '));
}

function summarize(outcomes: readonly Outcome[]): boolean {
  const sum = (count: (outcome: Outcome) => number) =>
    outcomes.reduce((total, outcome) => total + count(outcome), 0);
  const passed = sum((outcome) => outcome.passed);
  const failed = sum((outcome) => outcome.failures.length);
  console.log(`\n${passed} passed, ${failed} failed`);
  if (outcomes.length === 0) console.error('no file of tests-sql/ was run');
  return failed === 0 && outcomes.length > 0;
}

if (!(await main(process.argv.slice(2)))) process.exitCode = 1;
