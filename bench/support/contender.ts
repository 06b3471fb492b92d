import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

/** A queue system as the benchmarks drive it. Runs in a process of its own, the same Node for all. */
export interface Contender {
  /** Puts schema and queue into an empty database. */
  install(url: string): Promise<void>;
  /** Adds jobs in calls of `batch` over one connection. Returns the seconds that took. */
  addMany(work: AddMany): Promise<number>;
  /**
   * Adds jobs, one a transaction, over several connections, after WARM_UP over each that are not
   * measured. Returns the seconds that took.
   */
  addOne(work: AddOne): Promise<number>;
  /**
   * Runs jobs with a handler that does nothing, each exactly once, until `jobs` are completed. Returns
   * the seconds from the first handler until the database has nothing left to do.
   */
  drain(work: Drain): Promise<number>;
  /** Adds a job after every gap, to a worker that waits. Returns milliseconds until each handler began. */
  pickup(work: Pickup): Promise<number[]>;
  /** Starts workers that go on until the process ends, with handlers that do nothing. */
  idle(work: Idle): Promise<void>;
  /** How many jobs are in any state but done. */
  leftovers(url: string): Promise<number>;
  /** Removes every job, done or not, while nobody works. */
  clear(url: string): Promise<void>;
}

export interface AddMany {
  readonly url: string;
  readonly jobs: number;
  readonly batch: number;
  /** Size of each payload as JSON text. @default about 20 */
  readonly payloadBytes?: number;
}

export interface AddOne {
  readonly url: string;
  readonly jobs: number;
  readonly connections: number;
}

export interface Drain {
  readonly url: string;
  readonly jobs: number;
  readonly concurrency: number;
}

export interface Pickup {
  readonly url: string;
  readonly gapsMs: readonly number[];
  /** Whether a gap begins only once the job before it has been picked up. */
  readonly oneByOne: boolean;
}

export interface Idle {
  readonly url: string;
  readonly workers: number;
}

export interface Payload {
  readonly number: number;
  readonly text?: string;
}

/** A payload of about so many bytes as JSON text: letters that do not compress away. */
export function payloadOf(number: number, bytes = 0): Payload {
  if (bytes === 0) return { number };
  let text = '';
  for (let seed = number * 2_654_435_761 + 1; text.length < bytes - 30; ) {
    seed = (seed * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    text += seed.toString(36);
  }
  return { number, text: text.slice(0, Math.max(0, bytes - 30)) };
}

/** Does something so often at the same time. */
export async function times(count: number, act: () => Promise<unknown>): Promise<void> {
  await Promise.all(Array.from({ length: count }, act));
}

/** A pool whose connections are all open. */
export async function filledPool({ url, connections }: AddOne): Promise<pg.Pool> {
  const pool = new pg.Pool({ connectionString: url, max: connections });
  // A lost connection is reported by the query it interrupts.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  const clients = await Promise.all(Array.from({ length: connections }, () => pool.connect()));
  for (const client of clients) client.release();
  return pool;
}

/** What every connection adds before adding is measured: the sixth time its plans are made for good. */
export const WARM_UP = 6;

/** Adds jobs over as many connections as there are, first those that warm them up. */
export async function measureAdding(
  { jobs, connections }: AddOne,
  add: (payload: Payload) => Promise<unknown>,
): Promise<number> {
  const share = async (count: number): Promise<number> => {
    const start = performance.now();
    let left = count;
    const producer = async (): Promise<void> => {
      while (left-- > 0) await add(payloadOf(left));
    };
    await times(connections, producer);
    return (performance.now() - start) / 1000;
  };
  await share(connections * WARM_UP);
  return share(jobs);
}

/** Counts the handlers of a number of jobs, each once, and then waits for the last completion. */
export class Countdown {
  readonly #expected: number;
  readonly #seen = new Set<string>();
  #startedAt = 0;
  #done: () => void = () => undefined;
  #failed: (error: Error) => void = () => undefined;
  readonly #all: Promise<void>;

  constructor(expected: number) {
    this.#expected = expected;
    this.#all = new Promise((resolve, reject) => {
      this.#done = resolve;
      this.#failed = reject;
    });
  }

  /** The handler of a job was called. */
  ran(jobId: string): void {
    if (this.#seen.size === 0) this.#startedAt = performance.now();
    if (this.#seen.has(jobId)) this.#failed(new Error(`job ${jobId} was done twice`));
    this.#seen.add(jobId);
    if (this.#seen.size === this.#expected) this.#done();
  }

  /** Seconds from the first handler until the database has nothing left to do. */
  async seconds(leftovers: () => Promise<number>): Promise<number> {
    await this.#all;
    while ((await leftovers()) > 0) await sleep(1);
    return (performance.now() - this.#startedAt) / 1000;
  }
}

/** Measures the time from adding a job to the start of its handler. */
export class Pickups {
  readonly #waiting = new Map<number, (at: number) => void>();

  /** The handler of a job began. Throws at its second time, so that the job is left over. */
  began(number: number): void {
    const resolve = this.#waiting.get(number);
    if (resolve === undefined) throw new Error(`job ${number} was done twice`);
    this.#waiting.delete(number);
    resolve(performance.now());
  }

  /** Adds a job after every gap; resolves to the milliseconds of each once all have begun. */
  async measure(
    { gapsMs, oneByOne }: Pickup,
    add: (payload: Payload) => Promise<unknown>,
  ): Promise<number[]> {
    // Until the worker has found out that there is nothing to do.
    await sleep(500);
    const latencies: Promise<number>[] = [];
    for (const [number, gapMs] of gapsMs.entries()) {
      await sleep(gapMs);
      const addedAt = performance.now();
      latencies.push(
        new Promise((resolve) => {
          this.#waiting.set(number, (at) => resolve(at - addedAt));
        }),
      );
      await add(payloadOf(number));
      if (oneByOne) await latencies.at(-1);
    }
    return Promise.all(latencies);
  }
}

/** What a program can be called to do: functions of at most one argument. */
export type Calls<C> = { readonly [Name in keyof C]: (work: never) => Promise<unknown> };

/** Lets the parent process call a contender, or whatever else a program can do. */
export function serve<C extends Calls<C> = Contender>(calls: C): void {
  process.on('message', async ({ call, work }: { call: keyof C; work: never }) => {
    try {
      process.send?.({ answer: await calls[call](work) });
    } catch (error) {
      process.send?.({ error: String((error as Error).stack ?? error) });
    }
  });
  process.on('disconnect', () => process.exit());
}
