import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { backoffMs } from './clock.ts';
import { isPassing, namesItem } from './errors.ts';
import type { SchedulerEvent } from './events.ts';
import { bearerOf } from './heart.ts';
import { describeResult } from './json.ts';
import { mayBeTooLarge, Portion, weightOf } from './portion.ts';
import { deadLetter, JobAbort, type Outcome, type Running, reference } from './running.ts';
import type { HeartbeatAnswer, Lease, Settlement } from './types.ts';

/** Most outcomes in one call. */
const MAX_BATCH = 1000;

/** Most bytes of results, errors or checkpoints in one call. */
const MAX_BATCH_BYTES = 4_194_304;

/** Time until another look at a lease that is held; doubles with each in a row. */
const BUSY_MS = 20;
const MAX_BUSY_MS = 1000;

/** In this order in a batch. */
const KINDS: readonly Outcome['kind'][] = ['complete', 'fail', 'release', 'dead_letter'];

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

/** What was not delivered, and why. */
interface Failure {
  readonly error: unknown;
  readonly batch: readonly Delivery[];
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
  /** Those whose checkpoint is to be saved first. */
  readonly #bearing: Delivery[] = [];
  #saving = false;
  /** In bytes. */
  readonly #outcomes = new Portion(MAX_BATCH_BYTES);
  readonly #saves = new Portion(MAX_BATCH_BYTES);
  readonly #closing = new AbortController();

  constructor(options: SettlerOptions) {
    this.#options = options;
    // Each outcome that is put off listens to it; Node.js would warn of a leak from the eleventh on.
    setMaxListeners(0, this.#closing.signal);
  }

  /** Resolves to the database's answer; to undefined if it does not take what the outcome says, or on close. */
  deliver(running: Running, outcome: Outcome): Promise<Settlement | undefined> {
    return new Promise((done) => {
      this.#line({ running, lease: leaseOf(running), outcome, tries: 0, done });
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
      const ready = this.#closing.signal.aborted ? batch : this.#saveFirst(batch);
      for (const kind of KINDS) {
        await this.#send(ready.filter(({ outcome }) => outcome.kind === kind));
      }
    }
    this.#pumping = false;
  }

  /**
   * Delivers outcomes of one kind. An error that names an item is narrowed down to that item. Any other error
   * may pass: if a single item is accepted meanwhile, the error concerns only some of the others, which are
   * found; if not, all are tried again later.
   */
  async #send(batch: readonly Delivery[]): Promise<void> {
    const failure = await this.#try(batch);
    if (failure === undefined) return;
    const { error } = failure;
    const [first, ...others] = failure.batch;
    if (first === undefined) return;
    if (others.length === 0) {
      if (namesItem(error)) await this.#refused(first, error);
      else this.#tryLater(failure.batch);
    } else if (namesItem(error)) await this.#sendHalves(failure.batch);
    else {
      const alone = await this.#try([first]);
      if (alone !== undefined && namesItem(alone.error)) await this.#refused(first, alone.error);
      if (alone === undefined || namesItem(alone.error)) await this.#sendHalves(others);
      // Next time another one is tried alone.
      else this.#tryLater([...others, first]);
    }
  }

  async #sendHalves(batch: readonly Delivery[]): Promise<void> {
    const half = Math.ceil(batch.length / 2);
    for (const part of [batch.slice(0, half), batch.slice(half)]) {
      const failure = await this.#try(part);
      if (failure === undefined) continue;
      const [only] = failure.batch;
      if (only === undefined || failure.batch.length > 1) await this.#sendHalves(failure.batch);
      else if (namesItem(failure.error)) await this.#refused(only, failure.error);
      else this.#tryLater(failure.batch);
    }
  }

  /**
   * Delivers a batch in calls that are not too large, each repeated while errors pass. Resolves to an error
   * that does not, or that one outcome alone has met by its size, and what is left then.
   */
  async #try(batch: readonly Delivery[]): Promise<Failure | undefined> {
    let rest = batch;
    for (let tries = 0; rest.length > 0 && !this.#closing.signal.aborted; ) {
      const part = this.#outcomes.of(rest, MAX_BATCH, weighOutcome);
      try {
        const settlements = await this.#call(part);
        this.#outcomes.answered();
        for (const [index, delivery] of part.entries()) this.#told(delivery, settlements[index]);
        rest = rest.slice(part.length);
        tries = 0;
      } catch (error) {
        // Its connection was closed: stop() names what was not delivered.
        if (this.#closing.signal.aborted) break;
        this.#outcomes.failed(error, sumOf(part, weighOutcome));
        if (!namesItem(error)) {
          this.#options.onEvent({ type: 'call:failed', call: 'settle', error });
        }
        // One that is too slow for the line must not keep the others waiting.
        const isTooSlow = part.length === 1 && mayBeTooLarge(error);
        if (isTooSlow || !isPassing(error)) return { error, batch: rest };
        await this.#sleep(backoffMs(tries++));
      }
    }
    for (const { done } of rest) done(undefined);
    return undefined;
  }

  #told(delivery: Delivery, settlement: Settlement | undefined): void {
    // Another transaction holds the row of its lease.
    if (settlement?.status === 'busy') this.#putOff(delivery);
    else delivery.done(settlement);
  }

  /** Its row is held: it waits by itself, and the others go on. */
  #putOff(delivery: Delivery): void {
    const ms = Math.min(BUSY_MS * 2 ** delivery.tries, MAX_BUSY_MS);
    void this.#sleep(ms).then(() => {
      this.#again.push({ ...delivery, tries: delivery.tries + 1 });
      if (!this.#pumping) void this.#pump();
    });
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
      running.outcome = deadLetter(reason);
      return this.#send([{ ...delivery, outcome: running.outcome }]);
    }
    this.#options.onEvent({
      type: 'outcome:undeliverable',
      ...reference(running),
      outcome: outcome.kind,
      error,
    });
    done(undefined);
  }

  /** The last checkpoint goes before the outcome, which ends the lease. Answers those that have none to save. */
  #saveFirst(batch: readonly Delivery[]): readonly Delivery[] {
    const bears = ({ running }: Delivery): boolean => bearerOf(running).length > 0;
    if (!batch.some(bears)) return batch;
    this.#bearing.push(...batch.filter(bears));
    if (!this.#saving) void this.#saveAll();
    return batch.filter((delivery) => !bears(delivery));
  }

  async #saveAll(): Promise<void> {
    this.#saving = true;
    for (let tries = 0; this.#bearing.length > 0; ) {
      await this.#options.idle();
      const batch = this.#saves.of(this.#bearing, MAX_BATCH, weighCheckpoint);
      const error = this.#closing.signal.aborted ? undefined : await this.#save(batch);
      if (error !== undefined && isPassing(error) && !this.#closing.signal.aborted) {
        this.#options.onEvent({ type: 'call:failed', call: 'settle', error });
        await this.#sleep(backoffMs(tries++));
        continue;
      }
      this.#bearing.splice(0, batch.length);
      tries = 0;
      if (this.#closing.signal.aborted) for (const { done } of batch) done(undefined);
      else if (error !== undefined) await this.#saveApart(batch, error);
    }
    this.#saving = false;
  }

  /** An error that concerns one of them, or may pass later: alone, the others are saved. */
  async #saveApart(batch: readonly Delivery[], error: unknown): Promise<void> {
    for (const delivery of batch) {
      const alone = batch.length === 1 ? error : await this.#save([delivery]);
      if (alone === undefined) continue;
      const call = namesItem(alone) ? 'heartbeat' : 'settle';
      this.#options.onEvent({ type: 'call:failed', call, error: alone });
      if (!namesItem(alone)) this.#tryLater([delivery]);
      else {
        for (const { unsaved } of bearerOf(delivery.running)) {
          delivery.running.checkpoint.refused(unsaved, alone);
        }
        this.#line(delivery);
      }
    }
  }

  /** Saves the checkpoints of some deliveries, and puts these in line. Resolves to the error, if there is one. */
  async #save(batch: readonly Delivery[]): Promise<unknown> {
    const renewals = batch.flatMap((delivery) =>
      bearerOf(delivery.running).map((bearer) => ({ ...bearer, delivery })),
    );
    let answers: HeartbeatAnswer[] = [];
    try {
      if (renewals.length > 0) answers = await this.#options.client.heartbeatMany(renewals);
      this.#saves.answered();
    } catch (error) {
      this.#saves.failed(error, sumOf(batch, weighCheckpoint));
      return error;
    }
    const busy = new Set<Delivery>();
    for (const [index, { running, unsaved, delivery }] of renewals.entries()) {
      const status = answers[index]?.status;
      // A lease that is held just now, by the heart's own call say, was passed over.
      if (status === 'busy') busy.add(delivery);
      else if (status === 'lost') running.checkpoint.refused(unsaved, new JobAbort('lease_lost'));
      else running.checkpoint.saved(unsaved);
    }
    for (const delivery of batch) {
      if (busy.has(delivery)) this.#putOff(delivery);
      else this.#line(delivery);
    }
    return undefined;
  }

  #line(delivery: Delivery): void {
    this.#waiting.push(delivery);
    if (!this.#pumping) void this.#pump();
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
    return this.#options.client.deadLetterMany(
      batch.map(({ lease, outcome }) => ({ ...lease, ...outcome })),
    );
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

  async #sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }
}

function leaseOf(running: Running): Lease {
  return { jobId: running.job.jobId, token: running.job.token };
}

function weighCheckpoint({ running }: Delivery): number {
  return weightOf(running.checkpoint.unsaved?.data.text);
}

function weighOutcome({ outcome }: Delivery): number {
  switch (outcome.kind) {
    case 'complete':
      return weightOf(outcome.result?.text);
    case 'fail':
      return weightOf(outcome.error);
    case 'dead_letter':
      return weightOf(outcome.reason);
    case 'release':
      return weightOf(undefined);
  }
}

function sumOf<T>(items: readonly T[], weigh: (item: T) => number): number {
  return items.reduce((sum, item) => sum + weigh(item), 0);
}
