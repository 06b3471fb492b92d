/**
 * Keeps the tables of README.md true: `check` fails where they are not what sql/ and client/ say,
 * `write` makes them so. A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SQLSTATES } from '../client/errors.ts';
import { packageRoot } from '../client/package-root.ts';
import { type Part, readManifest } from './manifest.ts';

const README = join(packageRoot(), 'README.md');
const OPTIONS = join(packageRoot(), 'client', 'options.ts');

/** What each code means to a caller; a code without a line here stops the script. */
const ERRORS: Readonly<Record<keyof typeof SQLSTATES, string>> = {
  lease_lost:
    'The token is not the newest granted for the job, or it was retired. Nothing changed.',
  job_not_found: 'There is no such job: never enqueued, or its retention has passed.',
  job_cancelled: 'The job was cancelled.',
  job_finished: 'The job is dead or completed; `redrive` takes a dead one back.',
  queue_not_found: 'There is no such queue; `create_queue` makes one.',
  isolation_not_supported: 'The transaction is not READ COMMITTED. `enqueue` works at every level.',
  read_only: 'The transaction, or the server, is read-only.',
  payload_too_large: 'A payload, headers, result or checkpoint is over its limit.',
  queue_not_empty: '`drop_queue` of a queue that has live jobs.',
  invalid_argument: 'An argument is null or out of its range. Raised before any row is locked.',
};

async function main(mode: string | undefined): Promise<void> {
  if (mode !== 'check' && mode !== 'write') throw new Error('usage: docs.ts check|write');
  const before = await readFile(README, 'utf8');
  const after = [
    ['functions', functionTable(await readManifest())],
    ['errors', errorTable()],
    ['options', optionTable(await readFile(OPTIONS, 'utf8'))],
  ].reduce((text, [name, table]) => replaced(text, String(name), String(table)), before);

  if (mode === 'write') await writeFile(README, after);
  else if (after !== before) throw new Error('README.md is not up to date: npm run docs');
  await checkLinks(after);
  console.log(`README.md is ${mode === 'write' ? 'written' : 'up to date'}`);
}

/** A row a public function: its signature's arguments by name, and the first sentence of its comment. */
function functionTable(parts: readonly Part[]): string {
  const rows: string[] = [];
  let group = '';
  for (const part of parts.filter(({ path }) => path.startsWith('sql/functions/'))) {
    const name = /function leasehold\.(\w+)\(([^$]*?)\)\s*\n?\s*returns/.exec(part.sql);
    const comment = /\$doc\$(.+?)(?:\.\s|\.\$doc\$|:\s)/s.exec(part.sql)?.[1];
    if (name?.[1] === undefined || comment === undefined) {
      throw new Error(`${part.path} has no signature or comment that could be read`);
    }
    if (part.path !== `sql/functions/${name[1]}.sql`) {
      throw new Error(`${part.path} is not named after its function, ${name[1]}`);
    }
    if (part.group !== group) {
      group = part.group;
      rows.push(`| **${group}** | |`);
    }
    const args = [...(name[2] ?? '').matchAll(/^\s*p_(\w+) /gm)].map(([, arg]) => arg);
    const inline = [...(name[2] ?? '').matchAll(/p_(\w+) /g)].map(([, arg]) => arg);
    const shown = (args.length > 0 ? args : inline).join(', ');
    rows.push(`| [\`${name[1]}\`](${part.path}) (${shown}) | ${comment.replace(/\s+/g, ' ')} |`);
  }
  return ['| function | does |', '| --- | --- |', ...rows].join('\n');
}

function errorTable(): string {
  const rows = Object.entries(SQLSTATES).map(
    ([code, state]) => `| \`${state}\` | \`${code}\` | ${ERRORS[code as keyof typeof ERRORS]} |`,
  );
  return ['| SQLSTATE | `error.code` | means |', '| --- | --- | --- |', ...rows].join('\n');
}

/** A row an option of the scheduler: its TSDoc, of which `@default` is a column of its own. */
function optionTable(source: string): string {
  const body = /^export interface SchedulerOptions[\s\S]*?^\}/m.exec(source)?.[0] ?? '';
  const members = [...body.matchAll(/^ {2}\/\*\*([\s\S]*?)\*\/\n {2}readonly (\w+)\??:/gm)];
  const rows = members.map(([, comment = '', name]) => {
    const text = comment
      .replace(/^ *\* ?/gm, ' ')
      .replace(/\s+/g, ' ')
      .trim();
    const [does = '', usual = ''] = text.split(/ ?@default /);
    return `| \`${name}\` | ${does} | ${usual} |`;
  });
  if (rows.length !== (body.match(/^ {2}readonly /gm) ?? []).length) {
    throw new Error('client/options.ts has an option without a comment');
  }
  return ['| option | does | default |', '| --- | --- | --- |', ...rows].join('\n');
}

function replaced(text: string, name: string, table: string): string {
  const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`README.md has no place for "${name}"`);
  return `${text.slice(0, from + begin.length)}\n\n${table}\n\n${text.slice(to)}`;
}

/** Every relative link of the documents leads to a file that is there. */
async function checkLinks(readme: string): Promise<void> {
  const documents = new Map([['README.md', readme]]);
  for (const name of ['ARCHITECTURE.md', 'CONTRIBUTING.md']) {
    documents.set(name, await readFile(join(packageRoot(), name), 'utf8'));
  }
  const broken: string[] = [];
  for (const [name, text] of documents) {
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      const found = await readFile(join(packageRoot(), String(target))).then(
        () => true,
        (error: NodeJS.ErrnoException) => error.code === 'EISDIR',
      );
      if (!found) broken.push(`${name} links to ${target}`);
    }
  }
  if (broken.length > 0) throw new Error(broken.join('\n'));
}

try {
  await main(process.argv[2]);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
