/**
 * Runs the pgTAP tests: each file of tests-sql/ in a database of its own, several at a time.
 *
 *   tsx scripts/test-sql.ts [PART OF A FILE NAME]...
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { type FinalResults, Parser } from 'tap-parser';
import { PACKAGE_ROOT } from '../client/package-root.ts';
import {
  cloneDatabase,
  createTemplate,
  databaseUrl,
  dropDatabase,
  startTestServer,
  withClient,
} from '../tests-ts/support/server.ts';
import { pgtapSql } from './pgtap.ts';

interface Outcome {
  readonly file: string;
  readonly passed: number;
  /** One text for each test that failed, or for what kept the file from finishing. */
  readonly failures: readonly string[];
  readonly elapsedMs: number;
}

const FOLDER = join(PACKAGE_ROOT, 'tests-sql');
const PARALLEL = 3;
const STATEMENT_TIMEOUT = '60s';

/** What pgTAP says. Other statements of a file have answers too, and "ok" alone is a heartbeat's. */
const TAP_LINE = /^\s*(?:(?:not )?ok \d+|1\.\.\d+|#|Bail out!)/;

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
    const lines: string[] = [];
    const error = await withClient(databaseUrl(url, database), async (client) => {
      await client.query(`set statement_timeout = '${STATEMENT_TIMEOUT}'`);
      return runScript(client, sql, lines);
    });
    return { file, ...judge(lines, error, sql), elapsedMs: performance.now() - started };
  } finally {
    await dropDatabase(url, database);
  }
}

/** Collects TAP row by row, so that what was said before an error is not lost with the result. */
function runScript(client: pg.Client, sql: string, lines: string[]): Promise<Error | undefined> {
  const query = new pg.Query<Record<string, string | null>>({ text: sql, types: TEXT_ONLY });
  return new Promise((resolve) => {
    query.on('row', (row) => {
      const [cell, ...others] = Object.values(row);
      if (others.length === 0 && cell && TAP_LINE.test(cell)) lines.push(cell);
    });
    query.on('end', () => resolve(undefined));
    query.on('error', resolve);
    client.query(query);
  });
}

const TEXT_ONLY: pg.CustomTypesConfig = { getTypeParser: () => (text: string) => text };

function judge(
  lines: readonly string[],
  error: Error | undefined,
  sql: string,
): Pick<Outcome, 'passed' | 'failures'> {
  const results = parseTap(lines);
  const planned = results.plan.end;
  // pgTAP answers a failed test and what it found in one text.
  const failures = lines.filter((line) => /^not ok \d+/.test(line) && !/# (todo|skip)/i.test(line));
  if (error !== undefined) {
    failures.push(`${describeError(error, sql)}\nafter: ${lines.at(-1) ?? 'nothing'}`);
  } else if (results.count === 0) failures.push('the file ran no test');
  else if (planned !== results.count) {
    failures.push(`planned ${planned ?? 'nothing'}, ran ${results.count} tests`);
  } else if (!results.ok && failures.length === 0) failures.push('the file is not well-formed TAP');
  return { passed: results.pass - results.skip - results.todo, failures };
}

function parseTap(lines: readonly string[]): FinalResults {
  const parser = new Parser();
  parser.end(lines.map((line) => `${line}\n`).join(''));
  if (parser.results === null) throw new Error('tap-parser came to no result');
  return parser.results;
}

function describeError(error: Error, sql: string): string {
  if (!(error instanceof pg.DatabaseError)) return error.message;
  const { code, message, position, detail, hint, where } = error;
  const line = position && sql.slice(0, Number(position) - 1).split('\n').length;
  return [
    `${line ? `line ${line}: ` : ''}${code}: ${message}`,
    ...(detail ? [`detail: ${detail}`] : []),
    ...(hint ? [`hint: ${hint}`] : []),
    ...(where ? where.split('\n').slice(0, 3) : []),
  ].join('\n');
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
