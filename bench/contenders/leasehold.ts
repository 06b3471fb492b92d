import pg from 'pg';
import { Client } from '../../client/client.ts';
import { migrate } from '../../client/migrate.ts';
import { Scheduler } from '../../client/scheduler.ts';
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

const QUEUE = 'bench';

serve({
  async install(url) {
    await migrate({ connection: url });
    await withClient(url, (client) => client.createQueue(QUEUE, { keepCompletedMs: 0 }));
  },

  async addMany({ url, jobs, batch, payloadBytes }) {
    return withClient(url, async (client) => {
      const start = performance.now();
      for (let from = 0; from < jobs; from += batch) {
        const size = Math.min(batch, jobs - from);
        await client.enqueueMany(
          QUEUE,
          Array.from({ length: size }, (_, index) => ({
            payload: payloadOf(from + index, payloadBytes),
          })),
        );
      }
      return (performance.now() - start) / 1000;
    });
  },

  async addOne(work) {
    const pool = await filledPool(work);
    const client = new Client(pool);
    const seconds = await measureAdding(work, (payload) => client.enqueue(QUEUE, payload));
    await pool.end();
    return seconds;
  },

  async drain({ url, jobs, concurrency }) {
    const countdown = new Countdown(jobs);
    const scheduler = new Scheduler({
      connection: url,
      concurrency,
      handlers: { [QUEUE]: ({ id }) => countdown.ran(id) },
    });
    await scheduler.start();
    const seconds = await withClient(url, (client) => countdown.seconds(() => leftovers(client)));
    await scheduler.stop();
    return seconds;
  },

  async pickup(work) {
    const pickups = new Pickups();
    const scheduler = new Scheduler({
      connection: work.url,
      handlers: { [QUEUE]: ({ payload }) => pickups.began((payload as Payload).number) },
    });
    await scheduler.start();
    const latencies = await withClient(work.url, (client) =>
      pickups.measure(work, (payload) => client.enqueue(QUEUE, payload)),
    );
    await scheduler.stop();
    return latencies;
  },

  idle: ({ url, workers }) =>
    times(workers, () =>
      new Scheduler({ connection: url, handlers: { [QUEUE]: () => undefined } }).start(),
    ),

  leftovers: (url) => withClient(url, leftovers),

  clear: (url) =>
    withConnection(url, async (connection) => {
      await connection.query(
        'truncate leasehold.job, leasehold.ready, leasehold.lease, leasehold.request, leasehold.tally',
      );
    }),
});

async function leftovers(client: Client): Promise<number> {
  const [stats] = await client.queueStats(QUEUE);
  if (stats === undefined) throw new Error('no such queue');
  const { scheduled, ready, blocked, leased, dead, cancelled } = stats;
  return scheduled + ready + blocked + leased + dead + cancelled;
}

function withClient<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  return withConnection(url, (connection) => use(new Client(connection)));
}

async function withConnection<T>(
  url: string,
  use: (connection: pg.Client) => Promise<T>,
): Promise<T> {
  const connection = new pg.Client({ connectionString: url });
  await connection.connect();
  try {
    return await use(connection);
  } finally {
    await connection.end();
  }
}
