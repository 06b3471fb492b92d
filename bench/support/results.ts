import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import type { Outcome } from './benchmark.ts';
import { barChart } from './chart.ts';
import { rounded } from './statistics.ts';

const RESULTS = new URL('../results/', import.meta.url);
const README = new URL('../README.md', import.meta.url);
const BEGIN = '<!-- begin results -->';
const END = '<!-- end results -->';

/** What is kept of a run. */
export interface Result extends Outcome {
  readonly name: string;
  readonly met: boolean;
  readonly env: Readonly<Record<string, unknown>>;
}

/** Keeps a result with its chart, and writes all that are kept into the README. */
export async function save(result: Result, order: readonly string[]): Promise<void> {
  await mkdir(RESULTS, { recursive: true });
  const { name, unit, figures } = result;
  await writeFile(new URL(`${name}.json`, RESULTS), `${JSON.stringify(result, short, 2)}\n`);
  await writeFile(new URL(`${name}.svg`, RESULTS), barChart(name, unit, figures));
  await writeReadme(order);
}

async function writeReadme(order: readonly string[]): Promise<void> {
  const kept = (await readdir(RESULTS)).filter((file) => file.endsWith('.json'));
  const results = await Promise.all(
    kept.map(async (file) => JSON.parse(await readFile(new URL(file, RESULTS), 'utf8')) as Result),
  );
  results.sort((one, other) => order.indexOf(one.name) - order.indexOf(other.name));
  const readme = await readFile(README, 'utf8');
  const [before, after] = [readme.split(BEGIN)[0], readme.split(END)[1]];
  if (before === undefined || after === undefined) throw new Error(`${README} has no results`);
  const sections = results.map(section).join('\n');
  await writeFile(README, `${before}${BEGIN}\n\n${sections}\n${END}${after}`);
}

function section(result: Result): string {
  const { name, unit, rounds, figures, ratios, target, details = {}, env } = result;
  const lines = [
    ...Object.entries(figures).map(([key, value]) => [key, `${shown(value)} ${unit}`, '']),
    ...Object.entries(ratios).map(([key, value]) => [key, shown(value), target[key] ?? '']),
    ...Object.entries(details).map(([key, value]) => [key, shown(value), '']),
  ];
  return `### ${name}

${rounds} rounds, PostgreSQL ${env.postgres}, ${env.cores} cores of ${env.cpu}, ${env.memory_gib} GiB${env.quick === true ? ', `--quick`' : ''}; targets ${result.met ? 'met' : '**missed**'}.

![${name}](results/${name}.svg)

| figure | median | target |
| --- | --- | --- |
${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}
`;
}

/** What JSON makes of a ratio to nothing is null. */
function shown(value: number | null): string {
  return value === null ? 'none' : rounded(value).toLocaleString('en');
}

function short(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? rounded(value) : value;
}
