import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { backoffMs } from './clock.ts';
import { sqlstateOf } from './errors.ts';
import type { WaitingMode } from './types.ts';

/** How soon after it set `off` a session has others told once more. */
const PASS_ON_MS = 50;

/** How soon to look again, and ask again, while somebody is in the way; doubled with each time, to a second. */
const IN_THE_WAY_MS = 25;
const MAX_IN_THE_WAY_MS = 1000;

/** Shortest, and longest, time of polling alone after the server has failed a call. */
const MIN_AVOID_MS = 1000;
const MAX_AVOID_MS = 60_000;

/** From which mode each may be set. */
const LEGAL: Readonly<Record<WaitingMode, readonly WaitingMode[]>> = {
  off: ['off', 'told', 'watching'],
  told: ['off', 'watching'],
  watching: ['told'],
};

export interface WaitingOptions {
  readonly client: Client;
  readonly queues: readonly string[];
  /** The server's process of the session that hears notifications; undefined while none does. */
  readonly backendPid: () => number | undefined;
  /** Ends the session, since nobody knows what it holds. */
  readonly giveUp: (error: Error) => Promise<void>;
}

/** How the listening session waits for jobs: the one place that sets its mode. Nothing here rejects. */
export class Waiting {
  readonly #options: WaitingOptions;
  #mode: WaitingMode = 'off';
  #bucket: number | undefined;
  /** Since when what becomes ready is announced to this session. */
  #since = 0;
  /** Counts what was set, and sessions that ended: an answer counts if nothing came after its call. */
  #turn = 0;
  /** A call that asks to be told, or to watch, is under way. */
  #asking = false;
  #inTheWay = 0;
  #failures = 0;
  #avoidUntil = 0;
  /** The last call that sets `off`. */
  #off: Promise<void> = Promise.resolve();
  #passing: Promise<void> | undefined;
  #passingOn: NodeJS.Timeout | undefined;
  readonly #retired = new AbortController();
  #closed = false;

  constructor(options: WaitingOptions) {
    this.#options = options;
  }

  get mode(): WaitingMode {
    return this.#mode;
  }

  /** The bucket under which this session is told of ready jobs. */
  get bucket(): number | undefined {
    return this.#bucket;
  }

  /** For how long what becomes ready has been announced; none, if it is not. */
  get toldForMs(): number {
    return this.#mode === 'told' ? performance.now() - this.#since : 0;
  }

  /** Time until it may ask to be told again, after the server has failed such a call. */
  get avoidsForMs(): number | undefined {
    const ms = this.#avoidUntil - performance.now();
    return ms > 0 ? ms : undefined;
  }

  /**
   * Asks to be told of ready jobs. True if one more look is needed: that is new, and what became ready just
   * before was not announced; or somebody was in the way.
   */
  async ask(): Promise<boolean> {
    if (this.#mode !== 'off' || this.#asking || this.#retired.signal.aborted) return false;
    if (this.avoidsForMs !== undefined || this.#options.backendPid() === undefined) return false;
    clearTimeout(this.#passingOn);
    const answer = await this.#set('told');
    if (answer !== 'refused') return answer === 'set';
    const ms = Math.min(IN_THE_WAY_MS * 2 ** this.#inTheWay++, MAX_IN_THE_WAY_MS);
    await sleep(ms, undefined, { signal: this.#retired.signal }).catch(() => undefined);
    return true;
  }

  /** Has nobody told of ready jobs, since this process looks all the time. False: another one does. */
  async watch(): Promise<boolean> {
    if (this.#mode !== 'told' || this.#asking) return false;
    return (await this.#set('watching')) === 'set';
  }

  /** What becomes ready is announced again; what became ready before was not. False: it goes on watching. */
  async unwatch(): Promise<boolean> {
    if (this.#mode !== 'watching' || this.#asking) return false;
    if ((await this.#set('told')) === 'refused') this.off();
    return this.mode !== 'watching';
  }

  /**
   * Asks not to be told any more; what is ready is announced to others, and once more for an enqueue under
   * way that has seen this session wait.
   */
  off(): void {
    if ((this.#mode === 'off' && !this.#asking) || this.#closed) return;
    this.#become('off');
    this.#off = this.#set('off').then(() => undefined);
    clearTimeout(this.#passingOn);
    this.#passingOn = setTimeout(() => this.passOn(), PASS_ON_MS);
  }

  /** Asks never to be told again. */
  retire(): void {
    this.#retired.abort();
    this.off();
  }

  /** Has others told of what was announced to this process. */
  passOn(): void {
    if (this.#closed || this.#mode !== 'off' || this.#asking) return;
    // One that waits to be sent speaks for all that was announced until then.
    this.#passing ??= this.#off.then(() => {
      this.#passing = undefined;
      if (this.#mode === 'off' && !this.#asking) this.#off = this.#set('off').then(() => undefined);
    });
  }

  /** The session has ended, and with it what it held. */
  lost(): void {
    this.#turn++;
    this.#become('off');
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#passingOn);
  }

  /** `overtaken`: something was set after it, or the session has ended. */
  async #set(mode: WaitingMode): Promise<'set' | 'refused' | 'failed' | 'overtaken'> {
    const { client, queues, backendPid, giveUp } = this.#options;
    const pid = backendPid();
    if (pid === undefined) return 'failed';
    const turn = ++this.#turn;
    const asks = mode !== 'off';
    if (asks) this.#asking = true;
    let bucket: number | null;
    try {
      bucket = await client.setWaiting(queues, mode, pid);
    } catch (error) {
      // A session keeps its locks if the server fails a call, so nobody knows then which it holds. Without a
      // SQLSTATE, or with one that says that the session has ended, there is nothing to give up.
      if (!(sqlstateOf(error) ?? '57P').startsWith('57P')) {
        this.#avoidUntil =
          performance.now() + backoffMs(this.#failures++, 4 * MIN_AVOID_MS, MAX_AVOID_MS);
        await giveUp(error as Error);
      }
      return 'failed';
    } finally {
      if (asks) this.#asking = false;
    }
    if (turn !== this.#turn) return 'overtaken';
    if (bucket === null) return 'refused';
    this.#become(mode, bucket);
    return 'set';
  }

  #become(mode: WaitingMode, bucket?: number): void {
    if (!LEGAL[mode].includes(this.#mode)) {
      throw new Error(`a session cannot begin to be ${mode} while it is ${this.#mode}`);
    }
    this.#mode = mode;
    this.#bucket = mode === 'off' ? undefined : bucket;
    if (mode === 'off') return;
    this.#since = performance.now();
    this.#inTheWay = 0;
    this.#failures = 0;
  }
}
