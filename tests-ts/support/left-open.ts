/*
 * A process that uses parts of the client, closes each, and says what of it still keeps the event
 * loop alive. It ends by itself or not at all.
 */
import { setImmediate as turn } from 'node:timers/promises';
import pg from 'pg';
import { Client, Scheduler } from '../../client/index.ts';
import { Link } from '../../client/link.ts';
import { TSX_THREADS } from './tsx-threads.ts';
import { until } from './wait.ts';

const [url = '', ...uses] = process.argv.slice(2);

const USES: Readonly<Record<string, () => Promise<unknown>>> = {
  'an idle link': async () => {
    const link = new Link({ connection: { connectionString: url }, deadlineMs: 5000 });
    await link.query('select 1');
    await link.close();
  },
  'a busy link': async () => {
    const link = new Link({ connection: { connectionString: url }, deadlineMs: 60_000 });
    await link.query('select 1');
    const call = link.query('select pg_sleep(60)').catch((error: unknown) => error);
    await turn();
    await link.close();
    await call;
  },
  'a link that cannot connect': async () => {
    const link = new Link({ connection: { connectionString: url }, deadlineMs: 60_000 });
    const call = link.query('select 1').catch((error: unknown) => error);
    await turn();
    await link.close();
    await call;
  },
  'a link that missed a deadline': async () => {
    const link = new Link({ connection: { connectionString: url }, deadlineMs: 1000 });
    await link.query('select pg_sleep(60)').catch((error: unknown) => error);
    await link.close();
  },
  'a scheduler': async () => {
    const scheduler = new Scheduler({
      connection: url,
      handlers: { work: () => 'done' },
      pollMs: 60_000,
    });
    await scheduler.start();
    await scheduler.stop();
  },
  'a scheduler that never reached the database': async () => {
    const scheduler = new Scheduler({ connection: url, handlers: { work: () => 'done' } });
    const started = scheduler.start();
    await turn();
    await scheduler.stop();
    await started;
  },
  'a scheduler with a thread': async () => {
    const scheduler: Scheduler = new Scheduler({
      connection: url,
      threads: TSX_THREADS,
      handlers: { threads: { module: new URL('./thread-handlers/echo.ts', import.meta.url) } },
      onEvent: ({ type }) => {
        if (type === 'job:settled') void scheduler.stop();
      },
    });
    await scheduler.start();
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (scheduler.running > 0) return;
        clearInterval(timer);
        resolve();
      }, 20);
    });
    await scheduler.stop();
  },
  'a scheduler that was hinted at cancels while it stopped': async () => {
    const admin = new pg.Client({ connectionString: url });
    await admin.connect();
    let end = (): void => undefined;
    const scheduler = new Scheduler({
      connection: url,
      handlers: { work: () => new Promise<void>((resolve) => (end = resolve)) },
    });
    await scheduler.start();
    await new Client(admin).enqueue('work', {});
    await until(() => scheduler.running === 1);
    const stopped = scheduler.stop();
    const hint = `select pg_notify('leasehold', 'cancel:${scheduler.workerId}')`;
    for (let hints = 0; hints < 10; hints++) await admin.query(hint);
    end();
    await stopped;
    await admin.end();
  },
};

const leftOpen: Record<string, string[]> = {};
for (const what of uses) {
  const use = USES[what];
  if (use === undefined) throw new TypeError(`nothing is known of ${what}`);
  const before = process.getActiveResourcesInfo();
  await use();
  // Sockets report their end a turn later.
  for (let turns = 0; turns < 3; turns++) await turn();
  const left = process.getActiveResourcesInfo();
  for (const resource of before) {
    const at = left.indexOf(resource);
    if (at >= 0) left.splice(at, 1);
  }
  leftOpen[what] = left;
}
process.stdout.write(`${JSON.stringify(leftOpen)}\n`);
