import type pg from 'pg';
import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { alternate, type Side } from './support/rounds.ts';
import type { Database } from './support/server.ts';
import {
  BATCH,
  CONNECTIONS,
  drain,
  enqueue,
  fillInBatches,
  leaseAndComplete,
  leftovers,
  numberOf,
  type Step,
} from './support/sql-worker.ts';
import { ratioOf } from './support/statistics.ts';

/** The functions against the least SQL that could do the same work. */
export const sqlDrain: Benchmark = {
  name: 'sql-drain',
  work: `lease and complete in batches of ${BATCH} over ${CONNECTIONS} connections, through SQL alone`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    const jobs = context.quick ? 50_000 : 100_000;
    const rounds = context.quick ? 3 : 9;
    const database = await context.createDatabase();
    await database.install();
    const sides = [
      await drainSide(database, jobs, floor),
      await drainSide(database, jobs, leasehold('leasehold', '0')),
      await drainSide(database, jobs, leasehold('leasehold_kept', '1 day')),
    ];
    const figures = await alternate(sides, rounds, context.log);
    return {
      rounds,
      unit: 'jobs/s',
      figures,
      ratios: {
        ratio_floor: ratioOf(figures, 'leasehold', 'floor'),
        ratio_floor_kept: ratioOf(figures, 'leasehold_kept', 'floor'),
      },
      target: { ratio_floor: '>= 0.7', ratio_floor_kept: '>= 0.55' },
    };
  },
};

/** A way to do the work. Each drains its own jobs from the first to the last. */
interface Contender {
  readonly name: string;
  /** Makes what the jobs stand in, once. */
  create(client: pg.Client): Promise<unknown>;
  fill(client: pg.Client, count: number): Promise<unknown>;
  step(client: pg.Client): Step;
  /** How many jobs are left, done or not, where none should be. */
  leftovers(client: pg.Client): Promise<number>;
  /** Clears what a round leaves behind on purpose. */
  clear(client: pg.Client): Promise<unknown>;
}

async function drainSide(database: Database, jobs: number, contender: Contender): Promise<Side> {
  const admin = await database.connect();
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => database.connect()));
  await contender.create(admin);
  return {
    name: contender.name,
    async measure() {
      await contender.clear(admin);
      await admin.query('checkpoint');
      await fillInBatches(jobs, (count) => contender.fill(admin, count));
      await admin.query('vacuum (analyze)');
      const seconds = await drain(
        clients.map((client) => contender.step(client)),
        jobs,
      );
      const left = await contender.leftovers(admin);
      if (left !== 0) throw new Error(`${contender.name} left ${left} of ${jobs} jobs`);
      return jobs / seconds;
    },
  };
}

/** No token, no attempt, no expiry, no order of answers: what dies while it works is lost. */
const floor: Contender = {
  name: 'floor',
  create: (client) =>
    client.query(`
      create table floor_job (
        job_id bigint generated always as identity primary key,
        leased_at timestamptz,
        payload jsonb not null
      ) with (
        autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0
      );
      create index on floor_job (job_id) where leased_at is null`),
  fill: (client, count) =>
    client.query(
      `insert into floor_job (payload)
       select jsonb_build_object('number', number) from generate_series(1, $1::integer) as number`,
      [count],
    ),
  step: (client) => async () => {
    const { rows } = await client.query<{ job_id: string }>(
      `update floor_job set leased_at = now()
       where job_id = any (array(
         select job_id from floor_job
         where leased_at is null
         order by job_id
         limit $1
         for update skip locked
       ))
       returning job_id, payload`,
      [BATCH],
    );
    const ids = rows.map((row) => row.job_id);
    if (ids.length > 0) {
      await client.query('delete from floor_job where job_id = any ($1::bigint[])', [ids]);
    }
    return ids;
  },
  leftovers: (client) => numberOf(client, 'select count(*) from floor_job'),
  clear: (client) => client.query('truncate floor_job'),
};

/** With guarantees, and nothing or everything of a finished job kept. */
function leasehold(queue: string, keepCompleted: string): Contender {
  return {
    name: queue,
    create: (client) =>
      client.query('select leasehold.create_queue($1, p_keep_completed => $2)', [
        queue,
        keepCompleted,
      ]),
    fill: (client, count) => enqueue(client, queue, count),
    step: (client) => leaseAndComplete(client, queue),
    leftovers: (client) => leftovers(client, queue),
    clear: (client) =>
      client.query(
        'truncate leasehold.finished, leasehold.job, leasehold.ready, leasehold.lease, leasehold.request',
      ),
  };
}
