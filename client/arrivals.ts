/** Weight of the newest value in the moving average. */
const WEIGHT = 0.2;

/** A longer gap says no more than this one, and is forgotten as soon. */
const MAX_GAP_MS = 100;

/** So many looks in a row that found nothing say that jobs have stopped coming. */
const QUIET_LOOKS = 4;

/** How often jobs come one by one: as notifications tell, or as looks for them find. */
export class Arrivals {
  #gapMs = MAX_GAP_MS;
  #lastAt = -Infinity;
  #emptyLooks = 0;

  /** A notification tells of one, whoever sent it. */
  heard(): void {
    this.#came(1);
  }

  found(jobs: number): void {
    this.#emptyLooks = 0;
    this.#came(jobs);
  }

  foundNone(): void {
    this.#emptyLooks++;
  }

  /** From here on looks count that find nothing. */
  watchFor(): void {
    this.#emptyLooks = 0;
  }

  /** Time between two jobs, on average of late; more, if none has come for so long. */
  get gapMs(): number {
    return Math.max(this.#gapMs, performance.now() - this.#lastAt);
  }

  get haveStopped(): boolean {
    return this.#emptyLooks >= QUIET_LOOKS;
  }

  #came(jobs: number): void {
    const at = performance.now();
    const gapMs = Math.min(at - this.#lastAt, MAX_GAP_MS) / jobs;
    this.#gapMs += (gapMs - this.#gapMs) * WEIGHT;
    this.#lastAt = at;
  }
}
