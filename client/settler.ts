import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { backoffMs } from './clock.ts';
import { isPassing, namesItem } from './errors.ts';
import type { SchedulerEvent } from './events.ts';
import { describeResult, type JsonText } from './json.ts';
import { deadLetter, type Outcome, type Running, reference } from './running.ts';
import type { HeartbeatAnswer, Lease, Settlement } from './types.ts';

/** Most outcomes in one call. */
const MAX_BATCH = 1000;

/** Time until another look at a lease that is held. */
const BUSY_MS = 20;

/** So many completions at once are worth a connection of their own: leasing goes on beside them. */
const GREAT_BATCH = 50;

/** For how long the connection for completions is left alone once it has failed. */
const AVOID_MS = 30_000;

export interface SettlerOptions {
  readonly client: Client;
  /** On a connection that nothing else uses, opened where short handlers complete in great batches. */
  readonly completing: Client;
  /** Whether handlers are short, so that great batches will go on. */
  readonly areShort: () => boolean;
  /** Resolves when no heartbeat is under way, which might carry an older checkpoint. */
  readonly idle: () => Promise<void>;
  readonly onEvent: (event: SchedulerEvent) => void;
}

interface Delivery {
  readonly running: Running;
  /** The lease that the outcome is said of, whatever lease the job has meanwhile. */
  readonly lease: Lease;
  readonly outcome: Outcome;
  /** How often it was put off. */
  readonly tries: number;
  readonly done: (settlement: Settlement | undefined) => void;
}

/**
 * Brings outcomes to the database and repeats each until the database has answered. What ends in one
 * turn of the event loop goes together; what ends while a call is under way goes with the next.
 */
export class Settler {
  readonly #options: SettlerOptions;
  #avoidUntil = 0;
  #waiting: Delivery[] = [];
  /** What failed, and is to be tried again when the timer fires. */
  readonly #later: Delivery[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** What is tried again now. */
  readonly #again: Delivery[] = [];
  #pumping = false;
  readonly #closing = new AbortController();

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /** Resolves to the database's answer; to undefined if it does not take what the outcome says, or on close. */
  deliver(running: Running, outcome: Outcome): Promise<Settlement | undefined> {
    return new Promise((done) => {
      this.#waiting.push({ running, lease: leaseOf(running), outcome, tries: 0, done });
      if (!this.#pumping) void this.#pump();
    });
  }

  /** Gives up what is not delivered; its leases are left to expire. */
  close(): void {
    this.#closing.abort();
    this.#tryAgain();
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    while (this.#waiting.length + this.#again.length > 0) {
      await new Promise(setImmediate);
      // What failed before does not travel with what has just ended.
      const from = this.#again.length > 0 ? this.#again : this.#waiting;
      const batch = from.splice(0, MAX_BATCH);
      for (const kind of ['complete', 'fail', 'release'] as const) {
        await this.#send(batch.filter(({ outcome }) => outcome.kind === kind));
      }
      await this.#sendOneByOne(batch.filter(({ outcome }) => outcome.kind === 'dead_letter'));
    }
    this.#pumping = false;
  }

  /**
   * Delivers outcomes of one kind. An error that names an item is narrowed down to that item. Any other error
   * may pass: if a single item is accepted meanwhile, the error concerns only some of the others, which are
   * found; if not, all are tried again later.
   */
  async #send(batch: readonly Delivery[]): Promise<void> {
    const error = await this.#try(batch);
    if (error === undefined) return;
    const [first, ...others] = batch;
    if (first === undefined) return;
    if (others.length === 0) {
      if (namesItem(error)) await this.#refused(first, error);
      else this.#tryLater(batch);
    } else if (namesItem(error)) await this.#sendHalves(batch);
    else {
      const alone = await this.#try([first]);
      if (alone !== undefined && namesItem(alone)) await this.#refused(first, alone);
      if (alone === undefined || namesItem(alone)) await this.#sendHalves(others);
      // Next time another one is tried alone.
      else this.#tryLater([...others, first]);
    }
  }

  async #sendHalves(batch: readonly Delivery[]): Promise<void> {
    const half = Math.ceil(batch.length / 2);
    for (const part of [batch.slice(0, half), batch.slice(half)]) {
      const error = await this.#try(part);
      if (error === undefined) continue;
      const [only] = part;
      if (only === undefined || part.length > 1) await this.#sendHalves(part);
      else if (namesItem(error)) await this.#refused(only, error);
      else this.#tryLater(part);
    }
  }

  /** Two failures in a row: it is not about one of them. */
  async #sendOneByOne(batch: readonly Delivery[]): Promise<void> {
    let failures = 0;
    for (const [index, delivery] of batch.entries()) {
      if (failures === 2) return this.#tryLater(batch.slice(index));
      const later = this.#later.length;
      await this.#send([delivery]);
      failures = this.#later.length > later ? failures + 1 : 0;
    }
  }

  /** Delivers a batch, repeated while errors pass; resolves to an error that does not. */
  async #try(batch: readonly Delivery[]): Promise<unknown> {
    if (batch.length === 0) return undefined;
    try {
      await this.#saveCheckpoints(batch);
      const settlements = await this.#repeat(() => this.#call(batch));
      for (const [index, delivery] of batch.entries()) delivery.done(settlements?.[index]);
      return undefined;
    } catch (error) {
      if (!namesItem(error)) this.#options.onEvent({ type: 'call:failed', call: 'settle', error });
      return error;
    }
  }

  /** All that failed is tried again together, so that a server that refuses everything is not asked often. */
  #tryLater(batch: readonly Delivery[]): void {
    for (const delivery of batch) this.#later.push({ ...delivery, tries: delivery.tries + 1 });
    const tries = Math.max(...batch.map((delivery) => delivery.tries));
    this.#timer ??= setTimeout(() => this.#tryAgain(), backoffMs(tries));
    if (this.#closing.signal.aborted) this.#tryAgain();
  }

  #tryAgain(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#again.push(...this.#later.splice(0));
    if (!this.#pumping) void this.#pump();
  }

  /** The database does not take what the item says. */
  async #refused(delivery: Delivery, error: unknown): Promise<void> {
    const { running, outcome, done } = delivery;
    if (outcome.kind === 'complete') {
      // The work is done, and is not to be done again for a result that the database does not take.
      const reason = describeResult('result_not_storable', error, outcome.result);
      return this.#send([{ ...delivery, outcome: deadLetter(reason) }]);
    }
    this.#options.onEvent({
      type: 'outcome:undeliverable',
      ...reference(running),
      outcome: outcome.kind,
      error,
    });
    done(undefined);
  }

  /** The last checkpoint goes before the outcome, which ends the lease. */
  async #saveCheckpoints(batch: readonly Delivery[]): Promise<void> {
    const unsaved = (running: Running): JsonText | undefined =>
      running.isHeld ? running.unsavedCheckpoint : undefined;
    if (!batch.some(({ running }) => unsaved(running))) return;
    await this.#options.idle();
    const renewals = batch.flatMap(({ running }) => {
      const checkpoint = unsaved(running);
      return checkpoint ? [{ ...leaseOf(running), checkpoint, running }] : [];
    });
    if (renewals.length === 0) return;
    let answers: HeartbeatAnswer[] | undefined;
    try {
      answers = await this.#repeat(() => this.#options.client.heartbeatMany(renewals));
    } catch (error) {
      if (batch.length > 1 || !namesItem(error)) throw error;
      // The one that the database does not take.
      this.#options.onEvent({ type: 'call:failed', call: 'heartbeat', error });
    }
    // A lease that is held just now, by the heart's own call say, was passed over.
    const busy = answers?.some(({ status }) => status === 'busy') === true;
    for (const [index, { running, checkpoint }] of renewals.entries()) {
      if (answers?.[index]?.status !== 'busy') running.checkpointSaved(checkpoint);
    }
    if (busy) {
      await this.#sleep(BUSY_MS);
      await this.#saveCheckpoints(batch);
    }
  }

  /** One call for outcomes of one kind. */
  async #call(batch: readonly Delivery[]): Promise<Settlement[]> {
    const first = batch[0];
    if (first?.outcome.kind === 'complete') return this.#complete(batch);
    if (first?.outcome.kind === 'fail') {
      return this.#options.client.failMany(
        batch.map(({ lease, outcome }) => ({ ...lease, ...outcome })),
      );
    }
    if (first?.outcome.kind === 'release') {
      return this.#options.client.releaseMany(
        batch.map(({ lease, outcome }) => ({ ...lease, ...outcome })),
      );
    }
    return Promise.all(batch.map(({ lease, outcome }) => this.#deadLetter(lease, outcome)));
  }

  /** Nobody can lease a job that is being completed: unlike other outcomes it need not keep its place among the calls. */
  async #complete(batch: readonly Delivery[]): Promise<Settlement[]> {
    const { client, completing, areShort } = this.#options;
    const areMany = batch.length >= GREAT_BATCH && areShort();
    const apart = areMany && performance.now() >= this.#avoidUntil;
    const completions = batch.map(({ lease, outcome }) => ({
      ...lease,
      result: outcome.kind === 'complete' ? outcome.result : undefined,
    }));
    try {
      return await (apart ? completing : client).completeMany(completions);
    } catch (error) {
      if (apart) this.#avoidUntil = performance.now() + AVOID_MS;
      throw error;
    }
  }

  async #deadLetter({ jobId, token }: Lease, outcome: Outcome): Promise<Settlement> {
    try {
      const reason = outcome.kind === 'dead_letter' ? outcome.reason : undefined;
      return await this.#options.client.deadLetter(jobId, token, reason);
    } catch (error) {
      const status = refusal(error);
      if (status === undefined) throw error;
      return { jobId, status, late: false, retryInMs: undefined };
    }
  }

  /** Repeats a call while it fails in a way that passes. Undefined once closed. */
  async #repeat<T>(call: () => Promise<T>): Promise<T | undefined> {
    for (let tries = 0; !this.#closing.signal.aborted; tries++) {
      try {
        return await call();
      } catch (error) {
        // Its connection was closed: stop() names what was not delivered.
        if (this.#closing.signal.aborted) break;
        if (!isPassing(error)) throw error;
        this.#options.onEvent({ type: 'call:failed', call: 'settle', error });
        await this.#sleep(backoffMs(tries));
      }
    }
    return undefined;
  }

  async #sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }
}

function leaseOf(running: Running): Lease {
  return { jobId: running.job.jobId, token: running.job.token };
}

/** The statuses that a single call raises and a batch answers. */
function refusal(error: unknown): Settlement['status'] | undefined {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : '';
  switch (code) {
    case 'lease_lost':
    case 'job_not_found':
    case 'job_cancelled':
    case 'job_finished':
      return code;
    default:
      return undefined;
  }
}
