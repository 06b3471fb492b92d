/* A worker whose jobs say for how many milliseconds they work, or that they end its process as the kernel would. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Scheduler } from '../../client/index.ts';

const [url = '', options = '{}'] = process.argv.slice(2);
const scheduler: Scheduler = new Scheduler({
  ...JSON.parse(options),
  connection: url,
  handlers: {
    work: async (job) => {
      if (job.payload === 'poison') process.kill(process.pid, 'SIGKILL');
      else if (Number(job.payload) > 0) await sleep(Number(job.payload));
    },
  },
});

// The test's process has gone: so does this one. Does not keep it alive.
process.stdin.on('end', () => process.exit(1)).resume();
process.stdin.unref?.();

await scheduler.start();
