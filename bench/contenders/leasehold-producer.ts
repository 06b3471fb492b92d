import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Client } from '../../client/client.ts';
import { payloadOf, serve } from '../support/contender.ts';

/** Adds jobs over several connections, as many as it is allowed to. */
export interface LeaseholdProducer {
  start(work: Work): Promise<void>;
  /** Lets it go on until it has added so many, all in all. */
  allow(jobs: number): Promise<void>;
  /** Returns how many jobs it added. */
  stop(): Promise<number>;
}

interface Work {
  readonly url: string;
  readonly queue: string;
  readonly payloadBytes: number;
}

const CONNECTIONS = 4;

/** Jobs in a call, however many are allowed. */
const BATCH = 100;
const PAUSE_MS = 5;

let allowed = 0;
let added = 0;
let isStopping = false;
let adding: Promise<unknown> = Promise.resolve();

serve<LeaseholdProducer>({
  async start(work) {
    const pool = new pg.Pool({ connectionString: work.url, max: CONNECTIONS });
    const client = new Client(pool);
    await client.checkSchema();
    adding = Promise.all(Array.from({ length: CONNECTIONS }, () => add(client, work)));
    // It is stop() that tells.
    adding.catch(() => undefined);
  },

  async allow(jobs) {
    allowed = jobs;
  },

  async stop() {
    isStopping = true;
    await adding;
    return added;
  },
});

async function add(client: Client, { queue, payloadBytes }: Work): Promise<void> {
  while (!isStopping) {
    if (allowed - added < BATCH) {
      await sleep(PAUSE_MS);
      continue;
    }
    const first = added;
    added += BATCH;
    await client.enqueueMany(
      queue,
      Array.from({ length: BATCH }, (_, index) => ({
        payload: payloadOf(first + index, payloadBytes),
      })),
    );
  }
}
