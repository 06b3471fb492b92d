import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { type Installed, installed, requireLeft } from './support/installed.ts';
import { alternate, type Side } from './support/rounds.ts';
import { ratioOf } from './support/statistics.ts';

const BATCH = 1000;

/** The preset of graphile-worker is about its workers, of which there are none here. */
const CONTENDERS = ['leasehold', 'graphile', 'pgboss'] as const;

/** How fast one producer gets many jobs in. */
export const enqueueMany: Benchmark = {
  name: 'enqueue-many',
  work: `adding jobs in batches of ${BATCH} over one connection`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    const jobs = context.quick ? 20_000 : 100_000;
    const rounds = context.quick ? 3 : 5;
    const sides: Side[] = [];
    for (const name of CONTENDERS) sides.push(addSide(await installed(context, name), jobs));
    const figures = await alternate(sides, rounds, context.log);
    const ratios = {
      ratio_graphile: ratioOf(figures, 'leasehold', 'graphile'),
      ratio_pgboss: ratioOf(figures, 'leasehold', 'pgboss'),
    };
    return {
      rounds,
      unit: 'jobs/s',
      figures,
      ratios: { ...ratios, ratio_best_peer: Math.min(...Object.values(ratios)) },
      target: { ratio_best_peer: '>= 2.5' },
    };
  },
};

function addSide(contender: Installed, jobs: number): Side {
  const { name, process, url, admin } = contender;
  return {
    name,
    async measure() {
      await admin.query('checkpoint');
      const seconds = await process.call('addMany', { url, jobs, batch: BATCH });
      await requireLeft(contender, jobs);
      await process.call('clear', url);
      return jobs / seconds;
    },
  };
}
