import type { JsonText } from './json.ts';

/** A checkpoint that is to be saved. */
export interface Unsaved {
  readonly data: JsonText;
  /** Counts what the handler has offered. */
  readonly version: number;
}

/** Time until another attempt to save a checkpoint whose lease is held; doubles with each in a row. */
const BUSY_MS = 20;
const MAX_BUSY_MS = 1000;

interface Waiter {
  readonly version: number;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** The newest checkpoint of one attempt, and those who wait for it or an earlier one to be saved. */
export class CheckpointSlot {
  #unsaved: Unsaved | undefined;
  #version = 0;
  #waiters: Waiter[] = [];
  #busy = 0;
  #notBefore = 0;

  get unsaved(): Unsaved | undefined {
    return this.#unsaved;
  }

  /** Somebody waits for it. */
  get flushWanted(): boolean {
    return this.#waiters.length > 0;
  }

  /** Time until it may be sent: not at once if its lease was held just now. */
  get dueInMs(): number {
    return Math.max(0, this.#notBefore - performance.now());
  }

  /** Takes the place of what is not saved yet. */
  offer(data: JsonText): void {
    this.#unsaved = { data, version: ++this.#version };
  }

  /** Resolves when what was offered last, or something later, is saved; rejects if that will not be. */
  wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ version: this.#version, resolve, reject });
    });
  }

  /** What was sent is stored; something that was offered since is still to be sent. */
  saved(sent: Unsaved): void {
    for (const { resolve } of this.#done(sent)) resolve();
  }

  /** What was sent can never be stored. */
  refused(sent: Unsaved, reason: unknown): void {
    for (const { reject } of this.#done(sent)) reject(reason);
  }

  /** Another transaction held the lease: it is to be sent again. */
  busy(): void {
    this.#notBefore = performance.now() + Math.min(BUSY_MS * 2 ** this.#busy++, MAX_BUSY_MS);
  }

  /** Nobody is to wait any more; what is not saved yet stays. Without a reason nothing need be saved. */
  release(reasonOf?: () => Error): void {
    if (this.#waiters.length === 0) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    // As a rule nobody waits, and an error with its stack costs more than all else of a short job.
    const reason = reasonOf?.();
    for (const { resolve, reject } of waiters) {
      if (reason === undefined) resolve();
      else reject(reason);
    }
  }

  clear(): void {
    this.#unsaved = undefined;
  }

  /** Takes out what was sent, and those who wait for it. */
  #done(sent: Unsaved): Waiter[] {
    this.#busy = 0;
    this.#notBefore = 0;
    if (this.#unsaved === sent) this.#unsaved = undefined;
    const [done, waiting] = [[] as Waiter[], [] as Waiter[]];
    for (const waiter of this.#waiters) {
      (waiter.version <= sent.version ? done : waiting).push(waiter);
    }
    this.#waiters = waiting;
    return done;
  }
}
