import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { LeaseholdWorker } from './contenders/leasehold-worker.ts';
import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { type Installed, installed } from './support/installed.ts';
import type { ProgramProcess } from './support/process.ts';
import { alternate, type Side } from './support/rounds.ts';
import { enqueue, fillInBatches, numberOf } from './support/sql-worker.ts';
import { median, ratioOf } from './support/statistics.ts';
import { until } from './support/until.ts';

const QUEUE = 'held';
const MAX_CONNECTIONS = 3;

/** So that 100,000 leases are renewed every 20 seconds, a third of the default lease. */
const RENEWALS_PER_SECOND = 5_000;

/** One process keeps many leases while another works in the same tables. */
export const heartbeat: Benchmark = {
  name: 'heartbeat',
  work: `renewing all leases of one process, ${RENEWALS_PER_SECOND} a second, while another drains`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    const leases = context.quick ? 20_000 : 100_000;
    const jobs = context.quick ? 100_000 : 600_000;
    const rounds = context.quick ? 2 : 5;
    const drainer = await installed(context, 'leasehold');
    const holder = await Holder.start(context, drainer, leases);
    const quiet = await renewInQuiet(holder, drainer.admin, context.quick ? 3 : 10);

    const everyMs = (leases / RENEWALS_PER_SECOND) * 1000;
    const sides = [
      drainSide('leasehold', drainer, jobs, (drain) => holder.renewDuring(drain, everyMs)),
      drainSide('leasehold_alone', drainer, jobs, (drain) => drain()),
    ];
    const figures = await alternate(sides, rounds, context.log);
    await holder.verify();
    return {
      rounds,
      unit: 'jobs/s',
      figures,
      ratios: {
        round_ms: quiet.roundMs,
        ratio_hot: quiet.hot,
        renewal_wal_bytes: quiet.walBytes,
        ratio_drain: ratioOf(figures, 'leasehold', 'leasehold_alone'),
      },
      target: {
        round_ms: '<= 1000',
        ratio_hot: '>= 0.99',
        renewal_wal_bytes: '<= 120',
        ratio_drain: '>= 0.8',
      },
      details: {
        leases,
        connections: await holder.connections(),
        memory_bytes: (await holder.process.call('look', undefined)).rssBytes,
      },
    };
  },
};

type Drain = () => Promise<number>;

function drainSide(
  name: string,
  { process, url, admin }: Installed,
  jobs: number,
  around: (drain: Drain) => Promise<number>,
): Side {
  return {
    name,
    async measure() {
      await process.call('addMany', { url, jobs, batch: 1000 });
      await admin.query('vacuum (analyze)');
      await admin.query('checkpoint');
      return jobs / (await around(() => process.call('drain', { url, jobs, concurrency: 100 })));
    },
  };
}

/** A process whose scheduler holds leases, and renews all of them when it is told to. */
class Holder {
  readonly process: ProgramProcess<LeaseholdWorker>;
  readonly leases: number;
  readonly #admin: pg.Client;
  #lastRoundAt = '';

  private constructor(process: ProgramProcess<LeaseholdWorker>, admin: pg.Client, leases: number) {
    this.process = process;
    this.#admin = admin;
    this.leases = leases;
  }

  static async start(
    context: BenchmarkContext,
    { url, database }: Installed,
    leases: number,
  ): Promise<Holder> {
    const admin = await database.connect();
    await admin.query('select leasehold.create_queue($1)', [QUEUE]);
    await fillInBatches(leases, (count) => enqueue(admin, QUEUE, count));
    await admin.query('vacuum (analyze)');
    const process = context.program<LeaseholdWorker>('contenders/leasehold-worker.ts');
    await process.call('start', { url, queue: QUEUE, concurrency: leases, holding: true });
    await until(`${leases} handlers`, async () => {
      const { begun } = await process.call('look', undefined);
      return begun === leases;
    });
    return new Holder(process, admin, leases);
  }

  /**
   * Makes the scheduler renew all leases, as an announced cancel does. Returns the milliseconds until
   * it has taken in all answers, after which it says that the worker is alive.
   */
  async round(): Promise<number> {
    const { rows } = await this.#admin.query<{ asked_at: string }>(
      `select clock_timestamp()::text as asked_at, pg_notify('leasehold', 'cancel:' || worker_id)
       from leasehold.worker
       where $1 = any (queues)`,
      [QUEUE],
    );
    this.#lastRoundAt = rows[0]?.asked_at ?? '';
    let ms = 0;
    await until('a round of renewals', async () => {
      ms = await numberOf(
        this.#admin,
        `select extract(epoch from heartbeat_at - $2::timestamptz) * 1000
         from leasehold.worker
         where $1 = any (queues)`,
        [QUEUE, this.#lastRoundAt],
      );
      return ms > 0;
    });
    return ms;
  }

  /** Does the work with a round every so often, the first after a quarter of that time. */
  async renewDuring(work: Drain, everyMs: number): Promise<number> {
    let isDone = false;
    const result = work().finally(() => {
      isDone = true;
    });
    for (let dueAt = performance.now() + everyMs / 4; ; dueAt += everyMs) {
      const dueInMs = dueAt - performance.now();
      await Promise.race([result, sleep(dueInMs, undefined, { ref: false })]);
      if (isDone) return result;
      await this.round();
    }
  }

  /** All connections that the scheduler has, while no other is there. */
  async connections(): Promise<number> {
    const connections = await numberOf(
      this.#admin,
      `select count(*)
       from pg_stat_activity
       where datname = current_database()
         and application_name = 'leasehold'`,
    );
    if (connections > MAX_CONNECTIONS) throw new Error(`${connections} connections are too many`);
    return connections;
  }

  /** Throws unless every lease is there, and was renewed in the last round. */
  async verify(): Promise<void> {
    const renewed = await numberOf(
      this.#admin,
      'select count(*) from leasehold.lease where heartbeat_at >= $1::timestamptz',
      [this.#lastRoundAt],
    );
    if (renewed !== this.leases) throw new Error(`${renewed} of ${this.leases} were renewed`);
  }
}

/** What a round costs while nothing else goes on. */
interface Quiet {
  readonly roundMs: number;
  /** Share of the updates that touched no index. */
  readonly hot: number;
  /** WAL of one renewal. */
  readonly walBytes: number;
}

/** Rounds a second apart, so that the server counts each at once; the first writes whole pages into the WAL. */
async function renewInQuiet(holder: Holder, admin: pg.Client, rounds: number): Promise<Quiet> {
  const renew = async (): Promise<number> => {
    await sleep(1000);
    return holder.round();
  };
  const counted = async (updates: number): Promise<Updates> => {
    let seen = await lookAtUpdates(admin);
    await until(`${updates} updates`, async () => {
      seen = await lookAtUpdates(admin);
      return seen.updates === updates;
    });
    return seen;
  };
  await admin.query('checkpoint');
  await renew();
  const before = await counted(holder.leases);
  const spans: number[] = [];
  for (let round = 0; round < rounds; round += 1) spans.push(await renew());
  const after = await counted(holder.leases * (1 + rounds));
  const renewals = after.updates - before.updates;
  return {
    roundMs: median(spans),
    hot: (after.hotUpdates - before.hotUpdates) / renewals,
    walBytes: (after.walBytes - before.walBytes) / renewals,
  };
}

interface Updates {
  readonly updates: number;
  readonly hotUpdates: number;
  readonly walBytes: number;
}

async function lookAtUpdates(client: pg.Client): Promise<Updates> {
  const { rows } = await client.query<[string, string, string]>({
    text: `
      select n_tup_upd, n_tup_hot_upd, pg_current_wal_insert_lsn() - '0/0'
      from pg_stat_user_tables
      where relid = 'leasehold.lease'::regclass`,
    rowMode: 'array',
  });
  const [updates = Number.NaN, hotUpdates = Number.NaN, walBytes = Number.NaN] = (
    rows[0] ?? []
  ).map(Number);
  return { updates, hotUpdates, walBytes };
}
