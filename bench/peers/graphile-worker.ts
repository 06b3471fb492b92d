import {
  type AddJobsJobSpec,
  Logger,
  makeWorkerUtils,
  type Runner,
  run,
  type Task,
  type WorkerUtils,
} from 'graphile-worker';
import {
  Countdown,
  filledPool,
  measureAdding,
  type Payload,
  Pickups,
  payloadOf,
  serve,
  times,
} from '../support/contender.ts';

const TASK = 'bench';

/** `tuned`: jobs are fetched many at a time and completed in batches, as its own performance test does. */
const TUNED = {
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
const preset = { worker: process.argv[2] === 'tuned' ? TUNED : {} };

const logger = new Logger(() => () => undefined);

serve({
  async install(url) {
    await withUtils(url, (utils) => utils.migrate());
  },

  async addMany({ url, jobs, batch, payloadBytes }) {
    return withUtils(url, async (utils) => {
      // Connects: that is not measured.
      await leftovers(utils);
      const start = performance.now();
      for (let from = 0; from < jobs; from += batch) {
        const size = Math.min(batch, jobs - from);
        await utils.addJobs(
          Array.from(
            { length: size },
            (_, index): AddJobsJobSpec => ({
              identifier: TASK,
              payload: payloadOf(from + index, payloadBytes),
            }),
          ),
        );
      }
      return (performance.now() - start) / 1000;
    });
  },

  async addOne(work) {
    const pool = await filledPool(work);
    const utils = await makeWorkerUtils({ pgPool: pool, logger });
    const seconds = await measureAdding(work, (payload) => utils.addJob(TASK, payload));
    await utils.release();
    await pool.end();
    return seconds;
  },

  async drain({ url, jobs, concurrency }) {
    const countdown = new Countdown(jobs);
    const runner = await start(url, concurrency, (_, { job }) => countdown.ran(job.id));
    const seconds = await withUtils(url, (utils) => countdown.seconds(() => leftovers(utils)));
    await runner.stop();
    return seconds;
  },

  async pickup(work) {
    const pickups = new Pickups();
    const runner = await start(work.url, 10, (payload) =>
      pickups.began((payload as Payload).number),
    );
    const latencies = await withUtils(work.url, (utils) =>
      pickups.measure(work, (payload) => utils.addJob(TASK, payload)),
    );
    await runner.stop();
    return latencies;
  },

  /** With as many slots as a worker has by default, since each of them polls. */
  idle: ({ url, workers }) => times(workers, () => start(url, 1, () => undefined)),

  leftovers: (url) => withUtils(url, leftovers),

  clear: (url) =>
    withUtils(url, async (utils) => {
      await utils.withPgClient((client) => client.query('truncate graphile_worker._private_jobs'));
    }),
});

function leftovers(utils: WorkerUtils): Promise<number> {
  return utils.withPgClient(async (client) => {
    const { rows } = await client.query('select count(*)::integer from graphile_worker.jobs');
    return rows[0].count as number;
  });
}

/** As many connections as it can use: jobs that are completed one by one take one each. */
function start(url: string, concurrency: number, task: Task): Promise<Runner> {
  return run({
    preset: {
      worker: {
        ...preset.worker,
        connectionString: url,
        concurrentJobs: concurrency,
        maxPoolSize: Math.min(Math.max(concurrency, 10), 20),
      },
    },
    logger,
    noHandleSignals: true,
    taskList: { [TASK]: task },
  });
}

async function withUtils<T>(url: string, use: (utils: WorkerUtils) => Promise<T>): Promise<T> {
  const utils = await makeWorkerUtils({ connectionString: url, logger });
  try {
    return await use(utils);
  } finally {
    await utils.release();
  }
}
