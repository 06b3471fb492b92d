import type pg from 'pg';
import type { BenchmarkContext } from './benchmark.ts';
import type { ContenderName, ContenderProcess } from './process.ts';
import type { Database } from './server.ts';

/** A contender that has put its schema and its queue into a database of its own. */
export interface Installed {
  readonly name: ContenderName;
  readonly process: ContenderProcess;
  readonly database: Database;
  readonly url: string;
  /** For what the benchmark asks and does around the contender's own work. */
  readonly admin: pg.Client;
}

export async function installed(
  context: BenchmarkContext,
  name: ContenderName,
): Promise<Installed> {
  const database = await context.createDatabase();
  const process = context.contender(name);
  await process.call('install', database.url);
  return { name, process, database, url: database.url, admin: await database.connect() };
}

/** A figure counts only if there are as many jobs that are not done as there should be. */
export async function requireLeft({ name, process, url }: Installed, jobs: number): Promise<void> {
  const left = await process.call('leftovers', url);
  if (left !== jobs) throw new Error(`${name} has ${left} jobs that are not done, not ${jobs}`);
}
