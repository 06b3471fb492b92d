import { Scheduler } from '../../client/scheduler.ts';
import { serve } from '../support/contender.ts';

/** One scheduler and what there is to ask of it, for benchmarks that are about leasehold alone. */
export interface LeaseholdWorker {
  start(work: Work): Promise<void>;
  /** How many handlers began, and the memory that the process takes. */
  look(): Promise<{ readonly begun: number; readonly rssBytes: number }>;
  stop(): Promise<void>;
}

interface Work {
  readonly url: string;
  readonly queue: string | readonly string[];
  readonly concurrency: number;
  /** Handlers never end, and leases are renewed only when a cancel is announced. */
  readonly holding: boolean;
}

/** Longer than any benchmark. */
const HELD = { leaseMs: 86_400_000, heartbeatMs: 28_800_000 };

let scheduler: Scheduler | undefined;
let begun = 0;

serve<LeaseholdWorker>({
  async start({ url, queue, concurrency, holding }) {
    const forEver = new Promise(() => undefined);
    const handler = () => {
      begun += 1;
      return holding ? forEver : undefined;
    };
    scheduler = new Scheduler({
      connection: url,
      concurrency,
      ...(holding ? HELD : {}),
      handlers: Object.fromEntries([queue].flat().map((name) => [name, handler])),
    });
    await scheduler.start();
  },

  look: async () => ({ begun, rssBytes: process.memoryUsage.rss() }),

  async stop() {
    await scheduler?.stop();
  },
});
