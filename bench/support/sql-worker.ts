import { randomUUID } from 'node:crypto';
import type pg from 'pg';

/** How the drains through SQL work: so many jobs a call, over so many connections. */
export const BATCH = 500;
export const CONNECTIONS = 4;

/** Most jobs that one call of enqueue_many adds. */
const FILL_BATCH = 5_000;

/** What one connection does again and again: takes jobs, ends them, and answers their ids. */
export type Step = () => Promise<readonly string[]>;

/**
 * Lets every connection repeat its step until that finds nothing. Returns the seconds it took; throws
 * unless they did so many jobs, each once.
 */
export async function drain(steps: readonly Step[], jobs: number): Promise<number> {
  const start = performance.now();
  const done = (await Promise.all(steps.map(repeat))).flat();
  const seconds = (performance.now() - start) / 1000;
  const distinct = new Set(done).size;
  if (done.length !== jobs || distinct !== jobs) {
    throw new Error(`did ${done.length} jobs, ${distinct} different ones, of ${jobs}`);
  }
  return seconds;
}

async function repeat(step: Step): Promise<string[]> {
  const done: string[] = [];
  for (;;) {
    const ids = await step();
    if (ids.length === 0) return done;
    for (const id of ids) done.push(id);
  }
}

/** Calls `fill` with counts that one call can take, until there are so many. */
export async function fillInBatches(
  jobs: number,
  fill: (count: number) => Promise<unknown>,
): Promise<void> {
  for (let filled = 0; filled < jobs; filled += FILL_BATCH) {
    await fill(Math.min(FILL_BATCH, jobs - filled));
  }
}

/** Leases a batch and completes it: the public functions, called as a client calls them. */
export function leaseAndComplete(client: pg.Client, queue: string): Step {
  const worker = randomUUID();
  return async () => {
    const leased = await lease(client, queue, worker, BATCH);
    return leased.length === 0 ? [] : complete(client, leased);
  };
}

/** Milliseconds that each of so many calls takes which lease the one job there is. */
export async function leaseOneMs(
  client: pg.Client,
  queue: string,
  times: number,
): Promise<number[]> {
  const worker = randomUUID();
  const spans: number[] = [];
  for (let time = 0; time < times; time += 1) {
    await enqueue(client, queue, 1);
    const start = performance.now();
    const leased = await lease(client, queue, worker, 1);
    spans.push(performance.now() - start);
    const completed = await complete(client, leased);
    if (completed.length !== 1) throw new Error(`leased ${completed.length} jobs instead of one`);
  }
  return spans;
}

export function enqueue(client: pg.Client, queue: string, jobs: number): Promise<unknown> {
  return client.query(
    `select leasehold.enqueue_many($1, jsonb_agg(
       jsonb_build_object('payload', jsonb_build_object('number', number))
     ))
     from generate_series(1, $2::integer) as number`,
    [queue, jobs],
  );
}

/** How many jobs of the queue are in any position but completed. */
export function leftovers(client: pg.Client, queue: string): Promise<number> {
  return numberOf(
    client,
    `select scheduled + ready + blocked + leased + dead + cancelled
     from leasehold.queue_stats($1)`,
    [queue],
  );
}

/** The number that a query of one row and one column answers. */
export async function numberOf(
  client: pg.Client,
  query: string,
  values: unknown[] = [],
): Promise<number> {
  const { rows } = await client.query({ text: query, values, rowMode: 'array' });
  return Number((rows[0] as unknown[] | undefined)?.[0]);
}

interface Lease {
  readonly job_id: string;
  readonly token: string;
}

async function lease(
  client: pg.Client,
  queue: string,
  worker: string,
  limit: number,
): Promise<Lease[]> {
  const { rows } = await client.query<Lease>(
    `select job_id, payload, token
     from leasehold.lease_jobs(array[$1], $2, p_limit => $3, p_request_id => $4)`,
    [queue, worker, limit, randomUUID()],
  );
  return rows;
}

/** Like the client, it lets only those answers travel that are not what one expects. */
async function complete(client: pg.Client, leased: readonly Lease[]): Promise<string[]> {
  const ids = leased.map((row) => row.job_id);
  const { rows } = await client.query<{ job_id: string; status: string }>(
    `select job_id, status from leasehold.complete_many($1::bigint[], $2::uuid[], p_brief => true)
     where status <> 'completed'`,
    [ids, leased.map((row) => row.token)],
  );
  const refused = new Set(rows.map((row) => row.job_id));
  return refused.size === 0 ? ids : ids.filter((id) => !refused.has(id));
}
