import { PgBoss } from 'pg-boss';
import {
  Countdown,
  measureAdding,
  type Payload,
  Pickups,
  payloadOf,
  serve,
  times,
} from '../support/contender.ts';

const QUEUE = 'bench';

serve({
  async install(url) {
    await withBoss(url, (boss) => boss.createQueue(QUEUE, { notify: true }));
  },

  async addMany({ url, jobs, batch, payloadBytes }) {
    return withBoss(url, async (boss) => {
      const start = performance.now();
      for (let from = 0; from < jobs; from += batch) {
        const size = Math.min(batch, jobs - from);
        await boss.insert(
          QUEUE,
          Array.from({ length: size }, (_, index) => ({
            data: payloadOf(from + index, payloadBytes),
          })),
        );
      }
      return (performance.now() - start) / 1000;
    });
  },

  addOne: (work) =>
    withBoss(
      work.url,
      (boss) => measureAdding(work, (payload) => boss.send(QUEUE, payload)),
      work.connections,
    ),

  /** Batches of a thousand, fetched and completed by hand: faster than its own workers. */
  async drain({ url, jobs }) {
    return withBoss(url, async (boss) => {
      const countdown = new Countdown(jobs);
      for (;;) {
        const batch = await boss.fetch(QUEUE, { batchSize: 1000 });
        if (batch.length === 0) break;
        const ids = batch.map((job) => job.id);
        for (const id of ids) countdown.ran(id);
        await boss.complete(QUEUE, ids);
      }
      return countdown.seconds(() => leftovers(boss));
    });
  },

  async pickup(work) {
    return withBoss(work.url, async (boss) => {
      const pickups = new Pickups();
      await boss.work<Payload>(QUEUE, { batchSize: 10 }, async (jobs) => {
        for (const { data } of jobs) pickups.began(data.number);
      });
      const latencies = await pickups.measure(work, (payload) => boss.send(QUEUE, payload));
      await boss.offWork(QUEUE);
      return latencies;
    });
  },

  idle: ({ url, workers }) =>
    times(workers, async () => {
      const boss = await open(url, 2);
      await boss.work(QUEUE, async () => undefined);
    }),

  leftovers: (url) => withBoss(url, leftovers),

  clear: (url) =>
    withBoss(url, async (boss) => {
      await boss.deleteAllJobs();
    }),
});

async function leftovers(boss: PgBoss): Promise<number> {
  const { rows } = await boss
    .getDb()
    .executeSql(`select count(*)::integer from pgboss.job where state < 'completed'`);
  return rows[0].count as number;
}

async function open(url: string, max: number): Promise<PgBoss> {
  const boss = new PgBoss({ connectionString: url, max, useListenNotify: true });
  boss.on('error', (error) => console.error(error));
  return boss.start();
}

async function withBoss<T>(url: string, use: (boss: PgBoss) => Promise<T>, max = 4): Promise<T> {
  const boss = await open(url, max);
  try {
    return await use(boss);
  } finally {
    await boss.stop({ graceful: false, close: true });
  }
}
