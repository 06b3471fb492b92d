/* How the demonstration looks at the database and waits, while it goes away and comes back. */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { isPassing } from '../../client/errors.ts';
import type { Client } from '../../client/index.ts';

const POLL_MS = 100;
/** With no sign of life from any worker for so long, waiting has become pointless. */
const STALL_MS = 120_000;

export interface WatchOptions {
  readonly pool: pg.Pool;
  readonly client: Client;
  readonly queue: string;
  /** Ends every wait. */
  readonly signal: AbortSignal;
  /** Grows with every sign of life. */
  readonly pulse: () => number;
}

export class Watch {
  readonly #options: WatchOptions;
  /** How many jobs have come to an end, as of the last look. */
  done = 0;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** Asks until the database answers. */
  async ask<T>(call: () => Promise<T>): Promise<T> {
    const { signal } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      try {
        return await call();
      } catch (error) {
        if (!isPassing(error)) throw error;
        await this.pause(POLL_MS);
      }
    }
  }

  async query<R extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<R[]> {
    return this.ask(async () => (await this.#options.pool.query<R>(text, values)).rows);
  }

  /** Counts the jobs that have ended. */
  async look(): Promise<void> {
    const { client, queue } = this.#options;
    const [stats] = await this.ask(() => client.queueStats(queue));
    if (stats) this.done = stats.completed + stats.dead + stats.cancelled;
  }

  async pause(ms: number): Promise<void> {
    const { signal } = this.#options;
    // The wait ends with an AbortError; why it was ended says more.
    await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
  }

  /** Resolves to what the condition answers once that is something. */
  async until<T>(
    what: string,
    condition: () => T | Promise<T>,
    pollMs = POLL_MS,
  ): Promise<NonNullable<Exclude<T, false>>> {
    const { signal, pulse } = this.#options;
    let [beat, at] = [pulse(), performance.now()];
    for (;;) {
      signal.throwIfAborted();
      const answer = await condition();
      if (answer !== undefined && answer !== null && answer !== false) {
        return answer as NonNullable<Exclude<T, false>>;
      }
      if (pulse() !== beat) [beat, at] = [pulse(), performance.now()];
      else if (performance.now() - at > STALL_MS) {
        throw new Error(
          `waited in vain for ${what}: no worker has said anything for ${STALL_MS / 1000} s`,
        );
      }
      await this.pause(pollMs);
    }
  }
}
