import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { installed, requireLeft } from './support/installed.ts';
import type { ContenderName } from './support/process.ts';
import { alternate } from './support/rounds.ts';
import { ratioOf } from './support/statistics.ts';

const CONCURRENCY = 100;

/** How many jobs each side gets: the rate is compared, and the slow ones would take minutes. */
const JOBS: Readonly<Partial<Record<ContenderName, number>>> = {
  leasehold: 100_000,
  graphile_tuned: 100_000,
  graphile: 10_000,
  pgboss: 100_000,
};

/** One process runs jobs that do nothing, as fast as it can. */
export const drain: Benchmark = {
  name: 'drain',
  work: `jobs that do nothing through one process, concurrency ${CONCURRENCY}; pg-boss in batches of 1000`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    const rounds = context.quick ? 3 : 5;
    const part = context.quick ? 0.3 : 1;
    const sides = [];
    for (const [name, all] of Object.entries(JOBS) as [ContenderName, number][]) {
      const jobs = all * part;
      const contender = await installed(context, name);
      const { process, url, admin } = contender;
      sides.push({
        name,
        async measure() {
          await process.call('addMany', { url, jobs, batch: 1000 });
          await admin.query('vacuum (analyze)');
          await admin.query('checkpoint');
          const seconds = await process.call('drain', { url, jobs, concurrency: CONCURRENCY });
          await requireLeft(contender, 0);
          return jobs / seconds;
        },
      });
    }
    const figures = await alternate(sides, rounds, context.log);
    const against = (name: ContenderName) => ratioOf(figures, 'leasehold', name);
    return {
      rounds,
      unit: 'jobs/s',
      figures,
      ratios: {
        ratio_graphile_tuned: against('graphile_tuned'),
        ratio_graphile: against('graphile'),
        ratio_pgboss: against('pgboss'),
      },
      target: {
        ratio_graphile_tuned: '>= 3',
        ratio_graphile: '>= 20',
        ratio_pgboss: '>= 2',
      },
    };
  },
};
