/** Weight of the newest value in a moving average. */
const WEIGHT = 0.1;

/** Most jobs that are leased beyond the free slots, for each slot. */
const MAX_AHEAD = 9;

/** With fewer slots the turns that queues and processes take matter more than speed. */
const MIN_CONCURRENCY = 10;

/**
 * How fast slots become free, measured against how long it takes to lease jobs for them. Slots of
 * handlers that take longer than a lease_jobs call are filled one for one; handlers that are much
 * faster would wait for the database most of the time.
 */
export class Tempo {
  readonly #mayRunAhead: boolean;
  #handlerMs = Infinity;
  #leaseMs = 0;

  constructor(concurrency: number) {
    this.#mayRunAhead = concurrency >= MIN_CONCURRENCY;
  }

  handlerTook(ms: number): void {
    this.#handlerMs = average(this.#handlerMs, ms);
  }

  /** No handler has ended for so long: what was seen of earlier ones counts no more. */
  handlersSlowed(ms: number): void {
    this.#handlerMs = ms;
  }

  leaseTook(ms: number): void {
    this.#leaseMs = average(this.#leaseMs, ms);
  }

  /** How long a lease_jobs call takes, on average of late. */
  get leaseMs(): number {
    return this.#leaseMs;
  }

  /** How many jobs a slot can start while a lease_jobs call is under way, besides the first. */
  get ahead(): number {
    const turns = this.#leaseMs / this.#handlerMs;
    // Only where it matters much: with a few turns or less nothing is leased that cannot start now.
    return turns < 4 || !this.#mayRunAhead ? 0 : Math.min(Math.floor(turns) - 1, MAX_AHEAD);
  }
}

function average(before: number, value: number): number {
  return Number.isFinite(before) ? before + (value - before) * WEIGHT : value;
}
