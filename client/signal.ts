import { timer } from './clock.ts';

/**
 * Something one loop waits for and others announce. What is announced while nobody waits is kept
 * for the next wait, once.
 */
export class Signal {
  #fired = false;
  #release: (() => void) | undefined;

  fire(): void {
    this.#fired = true;
    this.#release?.();
  }

  /** Resolves when fired, or after a time. One waiter at a time; a second one releases the first. */
  wait(ms = Infinity): Promise<void> {
    this.#release?.();
    if (this.#fired) {
      this.#fired = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timeout = timer(() => this.#release?.(), ms);
      this.#release = () => {
        clearTimeout(timeout);
        this.#release = undefined;
        this.#fired = false;
        resolve();
      };
    });
  }
}
