import type { Running } from './running.ts';

/** How long a job may wait in hand. */
export const MAX_WAIT_MS = 100;

/** Jobs that were leased ahead and wait for a slot, which should take no time. */
export class Hand {
  readonly #waiting: { readonly running: Running; readonly since: number }[] = [];
  readonly #onOverdue: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** `onOverdue` is called when a job has waited for too long. */
  constructor(onOverdue: () => void) {
    this.#onOverdue = onOverdue;
  }

  get size(): number {
    return this.#waiting.length;
  }

  keep(running: Running): void {
    this.#waiting.push({ running, since: performance.now() });
    this.#lookIn(MAX_WAIT_MS);
  }

  /** Takes out the job that has waited longest. */
  next(): Running | undefined {
    return this.#waiting.shift()?.running;
  }

  /** Takes out all of them. */
  empty(): Running[] {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return this.#waiting.splice(0).map(({ running }) => running);
  }

  #lookIn(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const [oldest] = this.#waiting;
      if (oldest === undefined) return;
      const leftMs = MAX_WAIT_MS - (performance.now() - oldest.since);
      if (leftMs > 0) this.#lookIn(leftMs);
      else this.#onOverdue();
    }, ms);
  }
}
