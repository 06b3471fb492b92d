import type pg from 'pg';
import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { alternate } from './support/rounds.ts';
import { fill } from './support/sql-fill.ts';
import { leaseOneMs } from './support/sql-worker.ts';
import { median, ratioOf } from './support/statistics.ts';

const QUEUE = 'bench';
const OTHER_QUEUES = 10;

/** Jobs leased one by one in a turn. */
const LEASES = 50;

/** What lies around must not matter to who looks for the next job. */
export const backlog: Benchmark = {
  name: 'backlog',
  work: 'leasing one job beside many that wait for tomorrow, for others, or are finished',
  async run(context: BenchmarkContext): Promise<Outcome> {
    const part = context.quick ? 0.1 : 1;
    const amounts = { tomorrow: 1e6 * part, elsewhere: 1e6 * part, finished: 5e6 * part };
    const rounds = context.quick ? 16 : 30;

    const empty = await surrounded(context, { tomorrow: 0, elsewhere: 0, finished: 0 });
    const full = await surrounded(context, amounts);
    const side = (name: string, client: pg.Client) => ({
      name,
      measure: async () => median(await leaseOneMs(client, QUEUE, LEASES)),
    });
    const figures = await alternate(
      [side('leasehold', full), side('leasehold_empty', empty)],
      rounds,
      context.log,
    );
    await verify(full, amounts, rounds * LEASES);
    return {
      rounds,
      unit: 'ms',
      figures,
      ratios: { ratio_empty: ratioOf(figures, 'leasehold', 'leasehold_empty') },
      target: { ratio_empty: '<= 1.2' },
    };
  },
};

interface Amounts {
  readonly tomorrow: number;
  readonly elsewhere: number;
  readonly finished: number;
}

/** A database with a queue to lease from. What waits for tomorrow is of this queue and would come first. */
async function surrounded(context: BenchmarkContext, amounts: Amounts): Promise<pg.Client> {
  const database = await context.createDatabase();
  await database.install();
  const client = await database.connect();
  const others = Array.from({ length: OTHER_QUEUES }, (_, number) => `other_${number}`);
  for (const queue of [QUEUE, ...others]) {
    await client.query('select leasehold.create_queue($1)', [queue]);
  }
  await client.query('select leasehold.prune()');
  await fill(client, 'finished', QUEUE, amounts.finished);
  await fill(client, 'tomorrow', QUEUE, amounts.tomorrow, 0);
  for (const queue of others) await fill(client, 'ready', queue, amounts.elsewhere / OTHER_QUEUES);
  await client.query('vacuum (analyze)');
  await client.query('checkpoint');
  return client;
}

/** Throws unless all that was to be passed by is still there, and what was leased is finished. */
async function verify(client: pg.Client, amounts: Amounts, leased: number): Promise<void> {
  const { rows } = await client.query<Record<keyof Amounts, string>>(
    `select sum(scheduled) as tomorrow, sum(ready) as elsewhere, sum(completed) as finished
     from leasehold.queue_stats()`,
  );
  const expected = { ...amounts, finished: amounts.finished + leased };
  for (const [name, amount] of Object.entries(expected) as [keyof Amounts, number][]) {
    const found = Number(rows[0]?.[name]);
    if (found !== amount) throw new Error(`${name}: ${found} jobs instead of ${amount}`);
  }
}
