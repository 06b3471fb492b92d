import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import type { ContenderProcess } from './support/process.ts';
import { alternate, type Side } from './support/rounds.ts';
import type { Database } from './support/server.ts';
import {
  CONNECTIONS,
  drain,
  enqueue,
  fillInBatches,
  leaseAndComplete,
  leaseOneMs,
  leftovers,
  numberOf,
} from './support/sql-worker.ts';
import { median, ratioOf } from './support/statistics.ts';

const QUEUE = 'bench';

/** How often one job is leased when all others are done. */
const LEASES = 100;

/** Every row that is deleted stays where it was, in front of those that are looked for. */
export const heldXmin: Benchmark = {
  name: 'held-xmin',
  work: 'adding and draining jobs while an idle transaction holds the horizon, then leasing one more',
  async run(context: BenchmarkContext): Promise<Outcome> {
    const jobs = context.quick ? 100_000 : 1_000_000;
    const peerJobs = context.quick ? 10_000 : 200_000;
    const rounds = context.quick ? 2 : 3;
    const leasehold = new Leasehold(jobs);
    const subjects = [
      leasehold,
      new Peer(context.contender('graphile_tuned'), peerJobs),
      new Peer(context.contender('pgboss'), peerJobs),
    ];
    const sides = subjects.flatMap((subject) => [
      side(context, subject, true),
      side(context, subject, false),
    ]);
    const figures = await alternate(sides, rounds, context.log);
    const leaseOne = median(leasehold.leaseOneMs.held);
    const leaseOneClean = median(leasehold.leaseOneMs.clean);
    return {
      rounds,
      unit: 'jobs/s',
      figures,
      ratios: {
        ratio_drain: ratioOf(figures, 'leasehold', 'leasehold_clean'),
        ratio_lease_one: leaseOne / leaseOneClean,
        ratio_drain_graphile_tuned: ratioOf(figures, 'graphile_tuned', 'graphile_tuned_clean'),
        ratio_drain_pgboss: ratioOf(figures, 'pgboss', 'pgboss_clean'),
      },
      target: { ratio_drain: '>= 0.8', ratio_lease_one: '<= 2' },
      details: { lease_one_ms: leaseOne, lease_one_clean_ms: leaseOneClean },
    };
  },
};

/** What does the same work with a held horizon and without. */
interface Subject {
  readonly name: string;
  install(database: Database): Promise<unknown>;
  /** Adds the jobs and drains them. Returns how many a second it drained. */
  work(database: Database, horizon: 'held' | 'clean'): Promise<number>;
}

/** Every turn has a database of its own, so that nothing is left over from a turn before. */
function side(context: BenchmarkContext, subject: Subject, held: boolean): Side {
  return {
    name: held ? subject.name : `${subject.name}_clean`,
    async measure() {
      const database = await context.createDatabase();
      await subject.install(database);
      const letGo = held ? await holdHorizon(database) : undefined;
      const rate = await subject.work(database, held ? 'held' : 'clean');
      await letGo?.();
      await database.drop();
      return rate;
    },
  };
}

/** Opens the transaction; what it returns ends it, and throws if it had not lasted until then. */
async function holdHorizon(database: Database): Promise<() => Promise<void>> {
  const holder = await database.connect();
  const horizon = () => numberOf(holder, 'select pg_snapshot_xmin(pg_current_snapshot())');
  await holder.query('begin isolation level repeatable read');
  const held = await horizon();
  return async () => {
    if ((await horizon()) !== held) throw new Error('the horizon was not held');
    await holder.query('commit');
  };
}

/** Through SQL alone, with many connections: what the functions find, not what the client adds. */
class Leasehold implements Subject {
  readonly name = 'leasehold';
  readonly leaseOneMs = { held: [] as number[], clean: [] as number[] };
  readonly #jobs: number;

  constructor(jobs: number) {
    this.#jobs = jobs;
  }

  async install(database: Database): Promise<void> {
    await database.install();
    const admin = await database.connect();
    await admin.query(`select leasehold.create_queue($1, p_keep_completed => '0')`, [QUEUE]);
  }

  async work(database: Database, horizon: 'held' | 'clean'): Promise<number> {
    const admin = await database.connect();
    const clients = await Promise.all(
      Array.from({ length: CONNECTIONS }, () => database.connect()),
    );
    await fillInBatches(this.#jobs, (count) => enqueue(admin, QUEUE, count));
    await admin.query('vacuum (analyze)');
    await admin.query('checkpoint');
    const seconds = await drain(
      clients.map((client) => leaseAndComplete(client, QUEUE)),
      this.#jobs,
    );
    this.leaseOneMs[horizon].push(median(await leaseOneMs(admin, QUEUE, LEASES)));
    const left = await leftovers(admin, QUEUE);
    if (left !== 0) throw new Error(`leasehold left ${left} of ${this.#jobs} jobs`);
    return this.#jobs / seconds;
  }
}

/** Fewer jobs: with a held horizon a batch costs it more the more jobs are done. */
class Peer implements Subject {
  readonly name: string;
  readonly #contender: ContenderProcess;
  readonly #jobs: number;

  constructor(contender: ContenderProcess, jobs: number) {
    this.name = contender.name;
    this.#contender = contender;
    this.#jobs = jobs;
  }

  install({ url }: Database): Promise<void> {
    return this.#contender.call('install', url);
  }

  async work(database: Database): Promise<number> {
    const { url } = database;
    const admin = await database.connect();
    await this.#contender.call('addMany', { url, jobs: this.#jobs, batch: 1000 });
    await admin.query('vacuum (analyze)');
    await admin.query('checkpoint');
    const seconds = await this.#contender.call('drain', {
      url,
      jobs: this.#jobs,
      concurrency: 100,
    });
    const left = await this.#contender.call('leftovers', url);
    if (left !== 0) throw new Error(`${this.name} left ${left} of ${this.#jobs} jobs`);
    return this.#jobs / seconds;
  }
}
