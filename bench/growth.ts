import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { alternate, type Side } from './support/rounds.ts';
import { fill } from './support/sql-fill.ts';
import { BATCH, CONNECTIONS, drain, leaseAndComplete, leftovers } from './support/sql-worker.ts';

const QUEUE = 'bench';
const SIZES = [10_000, 100_000, 1_000_000, 5_000_000] as const;

/** Jobs taken from the head of the line in a turn: as many as the shortest line has. */
const JOBS = SIZES[0];

/** A long line must cost no more a job than a short one. */
export const growth: Benchmark = {
  name: 'growth',
  work: `lease and complete in batches of ${BATCH} over ${CONNECTIONS} connections, from lines of any length`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    const sizes = context.quick ? SIZES.slice(0, 3) : SIZES;
    const rounds = context.quick ? 9 : 15;
    const sides: Side[] = [];
    for (const size of sizes) sides.push(await headSide(context, size));
    const figures = await alternate(sides, rounds, context.log);
    const costs = Object.values(figures);
    return {
      rounds,
      unit: 'µs/job',
      figures: { leasehold: costs.at(-1) ?? Number.NaN, ...figures },
      ratios: { ratio_dearest_cheapest: Math.max(...costs) / Math.min(...costs) },
      target: { ratio_dearest_cheapest: '<= 1.3' },
    };
  },
};

/** A line of its own, in a database of its own, that has the same length at the beginning of every turn. */
async function headSide(context: BenchmarkContext, size: number): Promise<Side> {
  const database = await context.createDatabase();
  await database.install();
  const admin = await database.connect();
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => database.connect()));
  await admin.query(`select leasehold.create_queue($1, p_keep_completed => '0')`, [QUEUE]);
  await fill(admin, 'ready', QUEUE, size - JOBS);
  return {
    name: `leasehold_${size}`,
    async measure() {
      await fill(admin, 'ready', QUEUE, JOBS);
      await admin.query('vacuum (analyze)');
      await admin.query('checkpoint');

      let batches = JOBS / BATCH;
      const steps = clients.map((client) => {
        const step = leaseAndComplete(client, QUEUE);
        return async () => (batches-- > 0 ? step() : []);
      });
      const seconds = await drain(steps, JOBS);

      const left = await leftovers(admin, QUEUE);
      if (left !== size - JOBS) throw new Error(`${left} jobs are left, not ${size - JOBS}`);
      return (seconds / JOBS) * 1e6;
    },
  };
}
