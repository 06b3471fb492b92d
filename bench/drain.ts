import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import type { ContenderName } from './support/process.ts';
import { alternate } from './support/rounds.ts';

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
      const database = await context.createDatabase();
      const contender = context.contender(name);
      await contender.call('install', database.url);
      const admin = await database.connect();
      sides.push({
        name,
        async measure() {
          await contender.call('addMany', { url: database.url, jobs, batch: 1000 });
          await admin.query('vacuum (analyze)');
          await admin.query('checkpoint');
          const seconds = await contender.call('drain', {
            url: database.url,
            jobs,
            concurrency: CONCURRENCY,
          });
          const left = await contender.call('leftovers', database.url);
          if (left !== 0) throw new Error(`${name} left ${left} of ${jobs} jobs`);
          return jobs / seconds;
        },
      });
    }
    const figures = await alternate(sides, rounds, context.log);
    const against = (name: ContenderName) => (figures.leasehold ?? 0) / (figures[name] ?? 0);
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
