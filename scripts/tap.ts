import pg from 'pg';
import { type FinalResults, Parser } from 'tap-parser';

/** What a test script said, and the error it ended with, if it did. */
export interface ScriptRun {
  readonly sql: string;
  readonly lines: readonly string[];
  readonly error: Error | undefined;
}

export interface Verdict {
  readonly passed: number;
  /** One text for each test that failed, or for what kept the script from finishing. */
  readonly failures: readonly string[];
}

/** What pgTAP says. Other statements of a file have answers too, and "ok" alone is a heartbeat's. */
const TAP_LINE = /^\s*(?:(?:not )?ok \d+|1\.\.\d+|#|Bail out!)/;

/** Runs a pgTAP script. Rows count as they come, so that an error does not take them along. */
export function runScript(client: pg.Client, sql: string): Promise<ScriptRun> {
  const lines: string[] = [];
  const query = new pg.Query<Record<string, string | null>>({ text: sql, types: TEXT_ONLY });
  return new Promise((resolve) => {
    query.on('row', (row) => {
      const [cell, ...others] = Object.values(row);
      if (others.length === 0 && cell && TAP_LINE.test(cell)) lines.push(cell);
    });
    query.on('end', () => resolve({ sql, lines, error: undefined }));
    query.on('error', (error) => resolve({ sql, lines, error }));
    client.query(query);
  });
}

const TEXT_ONLY: pg.CustomTypesConfig = { getTypeParser: () => (text: string) => text };

/** Only a script that runs to its end and does all that it planned can pass. */
export function judge({ sql, lines, error }: ScriptRun): Verdict {
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
