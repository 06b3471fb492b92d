import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { LeaseholdProducer } from './contenders/leasehold-producer.ts';
import type { LeaseholdWorker } from './contenders/leasehold-worker.ts';
import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import type { ProgramProcess } from './support/process.ts';
import type { Database } from './support/server.ts';
import { leftovers, numberOf } from './support/sql-worker.ts';
import { median } from './support/statistics.ts';
import { until } from './support/until.ts';

const QUEUE = 'bench';
const PAYLOAD_BYTES = 1024;
const CONCURRENCY = 100;
const LOAD = 0.8;
const WARM_UP_SECONDS = 2;

/** As many jobs wait while it is found out how many can be done. */
const AHEAD = 2_000;

/**
 * How often autovacuum looks after a database in a short run. With the minute that it takes by default
 * three minutes would see two or three of its rounds, and tell of the time between them.
 */
const QUICK_NAPTIME = '5s';

/** How often the producer is told how far it may go. */
const TICK_MS = 10;

/** So many tables are told of one by one. */
const LARGEST = 5;

/**
 * How much larger the tables may be in the last quarter than in the second. Without vacuuming they
 * would be 2.3 times as large; a round of autovacuum that comes a little late must not count.
 */
const MAX_GROWTH = 1.3;

/** Tables must not grow, nor work slow down, because jobs come and go for a long time. */
export const churn: Benchmark = {
  name: 'churn',
  work: `${LOAD * 100} % of what one scheduler can do, for long, with payloads of ${PAYLOAD_BYTES} bytes`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    if (!context.quick) return measure(context);
    const admin = await (await context.createDatabase()).connect();
    await admin.query(`alter system set autovacuum_naptime = '${QUICK_NAPTIME}'`);
    await admin.query('select pg_reload_conf()');
    try {
      return await measure(context);
    } finally {
      await admin.query('alter system reset autovacuum_naptime');
      await admin.query('select pg_reload_conf()');
    }
  },
};

async function measure(context: BenchmarkContext): Promise<Outcome> {
  const seconds = context.quick ? 180 : 3600;
  const sampleEvery = context.quick ? 2 : 5;

  const capacity = await measureCapacity(context, context.quick ? 8 : 60);
  const offered = capacity * LOAD;
  context.log(`can do ${Math.round(capacity)} jobs/s, gets ${Math.round(offered)}`);

  const traffic = await Traffic.start(context);
  let sample = await traffic.sample();
  const samples = [sample];
  const startedAt = performance.now();
  for (let elapsed = 0; elapsed < seconds; elapsed = (performance.now() - startedAt) / 1000) {
    await traffic.allow(offered * elapsed);
    if (elapsed >= samples.length * sampleEvery) {
      sample = await traffic.sample();
      samples.push(sample);
    }
    await sleep(TICK_MS);
  }
  await traffic.finish();

  const second = summarize(samples, 0.25, 0.5);
  const last = summarize(samples, 0.75, 1);
  return {
    rounds: 1,
    unit: 'jobs/s',
    figures: { leasehold: last.rate, leasehold_second_quarter: second.rate },
    ratios: { ratio_rate: last.rate / second.rate, ratio_size: last.bytes / second.bytes },
    target: { ratio_rate: '>= 0.9', ratio_size: `<= ${MAX_GROWTH}` },
    details: {
      capacity_jobs_per_s: capacity,
      offered_jobs_per_s: offered,
      second_quarter_bytes: second.bytes,
      last_quarter_bytes: last.bytes,
      ...largest(sample),
    },
  };
}

/** What the same two processes get done when there is always a little more to do. */
async function measureCapacity(context: BenchmarkContext, seconds: number): Promise<number> {
  const traffic = await Traffic.start(context);
  const keepBusy = async (seconds: number): Promise<Sample> => {
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      await traffic.allow((await traffic.begun()) + AHEAD);
      await sleep(TICK_MS);
    }
    return traffic.sample();
  };
  const before = await keepBusy(WARM_UP_SECONDS);
  const after = await keepBusy(seconds);
  await traffic.abandon();
  return rateBetween(before, after);
}

interface Sample {
  readonly atMs: number;
  /** Handlers that have begun so far. */
  readonly begun: number;
  /** Size of each table with its indexes. */
  readonly bytes: Readonly<Record<string, number>>;
}

/** A producer and a scheduler, each in a process of its own, in a database of their own. */
class Traffic {
  readonly #database: Database;
  readonly #admin: pg.Client;
  readonly #producer: ProgramProcess<LeaseholdProducer>;
  readonly #worker: ProgramProcess<LeaseholdWorker>;

  private constructor(context: BenchmarkContext, database: Database, admin: pg.Client) {
    this.#database = database;
    this.#admin = admin;
    this.#producer = context.program('contenders/leasehold-producer.ts');
    this.#worker = context.program('contenders/leasehold-worker.ts');
  }

  static async start(context: BenchmarkContext): Promise<Traffic> {
    const database = await context.createDatabase();
    await database.install();
    const admin = await database.connect();
    await admin.query(`select leasehold.create_queue($1, p_keep_completed => '0')`, [QUEUE]);
    const traffic = new Traffic(context, database, admin);
    const work = { url: database.url, queue: QUEUE };
    await traffic.#worker.call('start', { ...work, concurrency: CONCURRENCY, holding: false });
    await traffic.#producer.call('start', { ...work, payloadBytes: PAYLOAD_BYTES });
    return traffic;
  }

  /** Lets the producer go on until it has added so many jobs. */
  async allow(jobs: number): Promise<void> {
    await this.#producer.call('allow', jobs);
  }

  /** How many handlers have begun so far. */
  async begun(): Promise<number> {
    return (await this.#worker.call('look', undefined)).begun;
  }

  /** Asks nothing that reads a row of the tables, and so takes no part in the traffic. */
  async sample(): Promise<Sample> {
    const begun = await this.begun();
    const atMs = performance.now();
    const { rows } = await this.#admin.query<{ name: string; bytes: string }>(
      `select relname as name, pg_total_relation_size(oid) as bytes
       from pg_class
       where relnamespace = 'leasehold'::regnamespace
         and relkind = 'r'`,
    );
    const bytes = Object.fromEntries(rows.map((row) => [row.name, Number(row.bytes)]));
    return { atMs, begun, bytes };
  }

  /** Waits until all that was added is done. Throws unless each job was done once. */
  async finish(): Promise<void> {
    const added = await this.#producer.call('stop', undefined);
    await until('the last job', async () => (await leftovers(this.#admin, QUEUE)) === 0);
    const begun = await this.begun();
    const completed = await numberOf(this.#admin, 'select pruned from leasehold.queue_stats($1)', [
      QUEUE,
    ]);
    if (begun !== added || completed !== added) {
      throw new Error(`of ${added} jobs ${begun} were begun and ${completed} completed`);
    }
    await this.#worker.call('stop', undefined);
  }

  /** Ends it with all its jobs. */
  async abandon(): Promise<void> {
    await this.#producer.end();
    await this.#worker.end();
    await this.#database.drop();
  }
}

function rateBetween(before: Sample, after: Sample): number {
  return (after.begun - before.begun) / ((after.atMs - before.atMs) / 1000);
}

/** Of the samples from one part of the whole time to another: the rate, and the median of all sizes. */
function summarize(
  samples: readonly Sample[],
  from: number,
  to: number,
): { readonly rate: number; readonly bytes: number } {
  const last = samples.length - 1;
  const chosen = samples.slice(Math.round(from * last), Math.round(to * last) + 1);
  const [before, after] = [chosen[0], chosen.at(-1)];
  if (before === undefined || after === undefined) throw new Error('no samples');
  return { rate: rateBetween(before, after), bytes: median(chosen.map(totalOf)) };
}

function totalOf({ bytes }: Sample): number {
  return Object.values(bytes).reduce((sum, size) => sum + size, 0);
}

/** The tables that take most of the room, by name. */
function largest({ bytes }: Sample): Record<string, number> {
  const sorted = Object.entries(bytes).toSorted(([, one], [, other]) => other - one);
  return Object.fromEntries(
    sorted.slice(0, LARGEST).map(([table, size]) => [`${table}_bytes`, size]),
  );
}
