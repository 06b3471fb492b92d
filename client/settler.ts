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
  #pumping = false;
  readonly #closing = new AbortController();

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  /** Resolves to the database's answer; to undefined where it can never be delivered, or on close. */
  deliver(running: Running, outcome: Outcome): Promise<Settlement | undefined> {
    return new Promise((done) => {
      this.#waiting.push({ running, lease: leaseOf(running), outcome, done });
      if (!this.#pumping) void this.#pump();
    });
  }

  /** Gives up what is not delivered; its leases are left to expire. */
  close(): void {
    this.#closing.abort();
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    while (this.#waiting.length > 0) {
      await new Promise(setImmediate);
      const batch = this.#waiting.splice(0, MAX_BATCH);
      await this.#saveCheckpoints(batch);
      await this.#send(batch.filter(({ outcome }) => outcome.kind === 'complete'));
      await this.#send(batch.filter(({ outcome }) => outcome.kind === 'fail'));
      await this.#send(batch.filter(({ outcome }) => outcome.kind === 'release'));
      for (const delivery of batch) {
        if (delivery.outcome.kind === 'dead_letter') await this.#send([delivery]);
      }
    }
    this.#pumping = false;
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
      if (batch.length > 1) {
        // One of them is refused; alone, the others are saved.
        for (const delivery of batch) await this.#saveCheckpoints([delivery]);
        return;
      }
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

  async #send(batch: readonly Delivery[]): Promise<void> {
    if (batch.length === 0) return;
    try {
      const settlements = await this.#repeat(() => this.#call(batch));
      for (const [index, delivery] of batch.entries()) delivery.done(settlements?.[index]);
    } catch (error) {
      if (batch.length > 1) {
        // One of them is refused whole; alone, each finds out whether it is the one.
        for (const delivery of batch) await this.#send([delivery]);
        return;
      }
      const [only] = batch;
      if (only?.outcome.kind === 'complete' && namesItem(error)) {
        // The work is done, and is not to be done again for a result that the database does not take.
        const reason = describeResult('result_not_storable', error, only.outcome.result);
        await this.#send([{ ...only, outcome: deadLetter(reason) }]);
        return;
      }
      for (const { running, outcome, done } of batch) {
        this.#options.onEvent({
          type: 'outcome:undeliverable',
          ...reference(running),
          outcome: outcome.kind,
          error,
        });
        done(undefined);
      }
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
