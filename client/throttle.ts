export interface Rate {
  /** How much may happen at once after a quiet time. */
  readonly burst: number;
  readonly perSecond: number;
}

/** A token bucket: says how often something may happen. */
export class TokenBucket {
  readonly #rate: Rate;
  #tokens: number;
  #filledAt = performance.now();

  constructor(rate: Rate) {
    this.#rate = rate;
    this.#tokens = rate.burst;
  }

  /** Takes a token if there is one. */
  take(): boolean {
    const at = performance.now();
    this.add(((at - this.#filledAt) / 1000) * this.#rate.perSecond);
    this.#filledAt = at;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  add(tokens: number): void {
    this.#tokens = Math.min(this.#tokens + tokens, this.#rate.burst);
  }

  /** Time until the next token, after a take() that found none. */
  get nextInMs(): number {
    return ((1 - this.#tokens) / this.#rate.perSecond) * 1000;
  }
}

/** Does what it is asked for at once, but no more often than a rate allows: then once for all, when it may. */
export class Throttle {
  readonly #act: () => void;
  readonly #tokens: TokenBucket;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(rate: Rate, act: () => void) {
    this.#act = act;
    this.#tokens = new TokenBucket(rate);
  }

  ask(): void {
    if (this.#timer !== undefined || this.#closed) return;
    if (this.#tokens.take()) {
      this.#act();
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.ask();
    }, this.#tokens.nextInMs);
  }

  /** It was worth it: it may be asked so many times more. */
  earn(tokens: number): void {
    this.#tokens.add(tokens);
    if (this.#timer === undefined) return;
    this.#forget();
    this.ask();
  }

  /** Forgets what waits, and is asked in vain from here on. */
  close(): void {
    this.#closed = true;
    this.#forget();
  }

  #forget(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
