import type pg from 'pg';
import type { LeaseholdWorker } from './contenders/leasehold-worker.ts';
import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { installed } from './support/installed.ts';
import type { ProgramProcess } from './support/process.ts';
import { alternate } from './support/rounds.ts';
import { enqueue, fillInBatches, numberOf } from './support/sql-worker.ts';
import { until } from './support/until.ts';

const PROCESSES = [1, 2, 4, 8];
const QUEUES = [1, 10, 100];

/** Of every process: who starts another one has more to do, and changes nothing else. */
const CONCURRENCY = 100;

/** Jobs for each process of which the time does not count: its sessions, new every time, must plan all they do. */
const WARM_UP = 5_000;

/**
 * What each process does by itself before anything is measured. Node compiles what it has run often enough,
 * some 60,000 times here: eight processes that share the jobs of one would else be compared cold with warm.
 */
const FIRST_JOBS = 60_000;

/** Whether it costs throughput that there are more processes, or more queues. */
export const processes: Benchmark = {
  name: 'processes',
  work: `jobs that do nothing, by more and more processes of concurrency ${CONCURRENCY}, and from more and more queues`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    const jobs = context.quick ? 50_000 : 100_000;
    const rounds = context.quick ? 2 : 5;
    const { url, admin } = await installed(context, 'leasehold');
    const queues = await createQueues(admin, Math.max(...QUEUES));
    const workers = Array.from({ length: Math.max(...PROCESSES) }, () =>
      context.program<LeaseholdWorker>('contenders/leasehold-worker.ts'),
    );
    const side = (processes: number, queueCount: number) => ({
      name: nameOf(processes, queueCount),
      measure: () =>
        drain(url, admin, workers.slice(0, processes), queues.slice(0, queueCount), jobs),
    });
    const sides = [
      ...PROCESSES.map((count) => side(count, 1)),
      ...QUEUES.slice(1).map((count) => side(1, count)),
    ];
    for (const worker of workers) await drain(url, admin, [worker], queues.slice(0, 1), FIRST_JOBS);
    const figures = await alternate(sides, rounds, context.log);
    const figure = (processes: number, queueCount: number) =>
      figures[nameOf(processes, queueCount)] ?? 0;
    return {
      rounds,
      unit: 'jobs/s',
      figures,
      ratios: {
        ratio_processes: worstFall(PROCESSES.map((count) => figure(count, 1))),
        ratio_queues: worstFall(QUEUES.map((count) => figure(1, count))),
      },
      target: { ratio_processes: '>= 0.9', ratio_queues: '>= 0.9' },
    };
  },
};

/** One process on one queue is where both series begin. */
function nameOf(processes: number, queues: number): string {
  if (processes > 1) return `leasehold_${processes}_processes`;
  return queues > 1 ? `leasehold_${queues}_queues` : 'leasehold';
}

/** The least that is left, on the way from the first to the last, of the best that was there before. */
function worstFall(figures: readonly number[]): number {
  return Math.min(
    ...figures.map((value, index) => value / Math.max(...figures.slice(0, index + 1))),
  );
}

async function createQueues(admin: pg.Client, count: number): Promise<string[]> {
  const { rows } = await admin.query<{ name: string }>(
    `select 'queue-' || number as name, leasehold.create_queue('queue-' || number, p_keep_completed => '0')
     from generate_series(1, $1::integer) as number`,
    [count],
  );
  return rows.map((row) => row.name);
}

/** Starts the processes, lets them do some jobs and then those that are measured, and stops them. */
async function drain(
  url: string,
  admin: pg.Client,
  workers: readonly ProgramProcess<LeaseholdWorker>[],
  queues: readonly string[],
  jobs: number,
): Promise<number> {
  const before = await doneSoFar(admin, workers);
  for (const worker of workers) {
    await worker.call('start', { url, queue: queues, concurrency: CONCURRENCY, holding: false });
  }
  const firstJobs = workers.length * WARM_UP;
  await secondsFor(admin, queues, firstJobs);
  const seconds = await secondsFor(admin, queues, jobs);
  for (const worker of workers) await worker.call('stop', undefined);

  const after = await doneSoFar(admin, workers);
  const [begun, completed] = [after.begun - before.begun, after.completed - before.completed];
  if (begun !== firstJobs + jobs || completed !== begun) {
    throw new Error(`began ${begun} jobs and completed ${completed}, of ${firstJobs + jobs}`);
  }
  return jobs / seconds;
}

/** The queues are paused until all jobs are there, so that all processes begin at the same moment. */
async function secondsFor(
  admin: pg.Client,
  queues: readonly string[],
  jobs: number,
): Promise<number> {
  const onQueues = (call: string) =>
    admin.query(`select leasehold.${call}(name) from unnest($1::text[]) as name`, [queues]);
  await onQueues('pause_queue');
  for (const queue of queues) {
    await fillInBatches(jobs / queues.length, (count) => enqueue(admin, queue, count));
  }
  await admin.query('vacuum (analyze)');
  await admin.query('checkpoint');

  const start = performance.now();
  await onQueues('resume_queue');
  // The oldest job is found through its index, whatever the drain has left behind.
  await until('no job is left', async () => {
    return (await numberOf(admin, 'select coalesce(min(job_id), 0) from leasehold.job')) === 0;
  });
  return (performance.now() - start) / 1000;
}

/** The queues keep no completed job, but count them. */
async function doneSoFar(
  admin: pg.Client,
  workers: readonly ProgramProcess<LeaseholdWorker>[],
): Promise<{ readonly begun: number; readonly completed: number }> {
  const looks = await Promise.all(workers.map((worker) => worker.call('look', undefined)));
  return {
    begun: looks.reduce((sum, look) => sum + look.begun, 0),
    completed: await numberOf(admin, 'select sum(pruned) from leasehold.queue_stats()'),
  };
}
