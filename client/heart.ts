import type { Unsaved } from './checkpoint.ts';
import type { Client } from './client.ts';
import { backoffMs, type Instant, jittered, now } from './clock.ts';
import { namesItem } from './errors.ts';
import type { SchedulerEvent } from './events.ts';
import type { JsonText } from './json.ts';
import { Portion, weightOf } from './portion.ts';
import { type Running, reference } from './running.ts';
import type { HeartbeatAnswer, Lease } from './types.ts';

/** Most leases in one call; the SQL function takes no more. */
const MAX_BATCH = 100_000;

/** Most bytes of checkpoints in one call: a renewal may have to wait for it. */
const MAX_SAVE_BYTES = 1_048_576;

export interface HeartOptions {
  /** On a connection of its own, which nothing else of this process can keep busy. */
  readonly client: Client;
  readonly running: ReadonlyMap<string, Running>;
  /** How often the leases that are held now are to be renewed. */
  readonly heartbeatMs: () => number;
  /** Shortest time between two calls that carry checkpoints. */
  readonly checkpointMs: number;
  /** Says that the process is alive. */
  readonly register: () => Promise<void>;
  /** Looks at the local deadlines, before anything is renewed that has passed one. */
  readonly checkDeadlines: () => void;
  readonly onLost: (running: Running, answer: HeartbeatAnswer) => void;
  /** A call that was under way when the lease was given up as lost has renewed it. */
  readonly onKept: (running: Running) => void;
  readonly onEvent: (event: SchedulerEvent) => void;
}

/**
 * Renews all leases of the process with one call every heartbeat interval, and carries checkpoints
 * up in between. A round that failed is made again soon, since the leases do not wait.
 */
export class Heart {
  readonly #options: HeartOptions;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = 0;
  /** When all leases are renewed next; a round before that carries checkpoints only. */
  #allDueAt = Infinity;
  #beating = false;
  #round: Promise<void> = Promise.resolve();
  #failures = 0;
  readonly #renewals = new Portion(MAX_BATCH);
  /** In bytes. */
  readonly #saves = new Portion(MAX_SAVE_BYTES);
  #savesSentAt = -Infinity;
  #savesDueAt = Infinity;
  /** A round failed: until then no checkpoint is sent, whoever waits for it. */
  #savesNotBefore = 0;
  #stopped = false;

  constructor(options: HeartOptions) {
    this.#options = options;
  }

  start(): void {
    this.#beatAllIn(jittered(this.#options.heartbeatMs()));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Renews at once: a cancel was asked for, or the database is back. */
  beatNow(): void {
    this.#beatAllIn(0);
  }

  /** A checkpoint waits: it goes at once, or as soon as the interval between checkpoints allows. */
  checkpointOffered(flush: boolean, inMs = 0): void {
    const earliest = performance.now() + inMs;
    const { checkpointMs } = this.#options;
    const wanted = flush ? earliest : Math.max(earliest, this.#savesSentAt + checkpointMs);
    this.#savesDueAt = Math.min(this.#savesDueAt, Math.max(wanted, this.#savesNotBefore));
    this.#schedule();
  }

  /** Jobs were leased, maybe for a shorter time than those before. */
  leased(): void {
    const ms = this.#options.heartbeatMs();
    if (performance.now() + ms < this.#allDueAt) this.#beatAllIn(jittered(ms));
  }

  #beatAllIn(ms: number): void {
    this.#allDueAt = performance.now() + ms;
    this.#schedule();
  }

  /** Brings the next round forward; never puts it off. */
  #schedule(): void {
    if (this.#stopped) return;
    const dueAt = Math.min(this.#allDueAt, this.#savesDueAt);
    if (this.#timer !== undefined && this.#dueAt <= dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        // The round under way schedules the next one when it ends.
        if (!this.#beating) this.#round = this.#beat();
      },
      Math.max(0, dueAt - performance.now()),
    );
  }

  /** Resolves when no round is under way that began before now. Never rejects. */
  idle(): Promise<void> {
    return this.#round;
  }

  async #beat(): Promise<void> {
    this.#beating = true;

    const { register, checkDeadlines, onEvent } = this.#options;
    const heartbeatMs = this.#options.heartbeatMs();
    checkDeadlines();

    // Timers may fire a little early.
    const at = performance.now() + 5;
    const [all, saves] = [at >= this.#allDueAt, at >= this.#savesDueAt];
    // Who asks for another round from here on gets one: this one may have begun too early for it.
    if (all) this.#allDueAt = Infinity;
    if (saves) this.#savesDueAt = Infinity;
    let nextMs = jittered(heartbeatMs);
    try {
      if (all && (await this.#renewAll())) nextMs = Math.min(nextMs, heartbeatMs / 4);
      // A registration that is slow or fails holds up no checkpoint.
      const registered = all && !this.#stopped ? register() : undefined;
      registered?.catch(() => undefined);
      // Renewals do not wait for checkpoints: those that are left go in the next round.
      if (saves) await this.#saveAll(performance.now() + nextMs);
      await registered;
      this.#failures = 0;
    } catch (error) {
      if (!this.#stopped) onEvent({ type: 'call:failed', call: 'heartbeat', error });
      nextMs = Math.min(heartbeatMs / 4, backoffMs(this.#failures++));
      this.#savesNotBefore = performance.now() + nextMs;
    }
    this.#allDueAt = Math.min(this.#allDueAt, performance.now() + nextMs);
    this.#beating = false;
    this.#schedule();
    // What was offered while the round was under way, or is still to be saved.
    for (const { isHeld, checkpoint } of this.#options.running.values()) {
      if (isHeld && checkpoint.unsaved) {
        this.checkpointOffered(checkpoint.flushWanted, checkpoint.dueInMs);
      }
    }
  }

  /** Returns whether a lease could not be renewed because its row was held. */
  async #renewAll(): Promise<boolean> {
    const held = [...this.#options.running.values()].filter(({ isHeld }) => isHeld).sort(byJobId);
    let busy = false;
    for (let from = 0; from < held.length; ) {
      const batch = held.slice(from, from + this.#renewals.size);
      from += batch.length;
      busy = (await this.#renew(batch)) || busy;
    }
    return busy;
  }

  async #renew(batch: readonly Running[]): Promise<boolean> {
    const sentAt = now();
    const renewals = batch.map(({ job: { jobId, token } }) => ({ jobId, token }));
    let answers: HeartbeatAnswer[];
    try {
      answers = await this.#options.client.heartbeatMany(renewals);
      this.#renewals.answered();
    } catch (error) {
      this.#renewals.failed(error, batch.length);
      throw error;
    }
    for (const [index, running] of batch.entries()) {
      this.#take(running, renewals[index], answers[index], sentAt);
    }
    return answers.some(({ status }) => status === 'busy');
  }

  /** Saves the checkpoints that wait, the smallest first, in calls that renew no lease but theirs. */
  async #saveAll(until: number): Promise<void> {
    this.#savesSentAt = performance.now();
    let bearers = [...this.#options.running.values()]
      .flatMap(bearerOf)
      .filter(({ running }) => running.checkpoint.dueInMs === 0)
      .sort((one, other) => weigh(one) - weigh(other));
    while (bearers.length > 0 && performance.now() < Math.min(until, this.#allDueAt)) {
      const batch = this.#saves.of(bearers, MAX_BATCH, weigh);
      bearers = bearers.slice(batch.length);
      await this.#save(batch);
    }
  }

  async #save(batch: readonly Bearer[]): Promise<void> {
    const sentAt = now();
    let answers: HeartbeatAnswer[];
    try {
      answers = await this.#options.client.heartbeatMany(batch);
      this.#saves.answered();
    } catch (error) {
      this.#saves.failed(
        error,
        batch.reduce((sum, bearer) => sum + weigh(bearer), 0),
      );
      if (!namesItem(error)) throw error;
      if (batch.length > 1) {
        // One of them is refused; alone, the others are saved.
        for (const bearer of batch) await this.#save([bearer]);
        return;
      }
      this.#options.onEvent({ type: 'call:failed', call: 'heartbeat', error });
      for (const { running, unsaved } of batch) running.checkpoint.refused(unsaved, error);
      return;
    }
    for (const [index, bearer] of batch.entries()) {
      const { running, unsaved } = bearer;
      const status = answers[index]?.status;
      if (status === 'busy') running.checkpoint.busy();
      else if (status !== 'lost') running.checkpoint.saved(unsaved);
      this.#take(running, bearer, answers[index], sentAt);
    }
  }

  #take(
    running: Running,
    asked: Lease | undefined,
    answer: HeartbeatAnswer | undefined,
    sentAt: Instant,
  ): void {
    // The job may have been leased anew meanwhile: what was said of the old token does not concern it.
    if (answer === undefined || asked?.token !== running.job.token) return;
    if (answer.status === 'lost') {
      // With an outcome on its way the lease has most likely just ended by it: its answer will tell.
      if (running.outcome === undefined) this.#options.onLost(running, answer);
      return;
    }
    if (answer.status !== 'busy' && answer.remainingMs !== undefined) {
      running.renewed(sentAt, answer.remainingMs);
      if (running.lost) this.#options.onKept(running);
    }
    if (answer.status === 'revived') {
      this.#options.onEvent({ type: 'job:revived', ...reference(running) });
    }
    if (answer.cancelRequested && running.abort('cancelled')) {
      this.#options.onEvent({ type: 'job:aborted', ...reference(running), reason: 'cancelled' });
    }
  }
}

/** A lease with a checkpoint to be saved. */
export interface Bearer extends Lease {
  readonly running: Running;
  readonly unsaved: Unsaved;
  readonly checkpoint: JsonText;
}

/** None, or one: what of a running job is to be saved. */
export function bearerOf(running: Running): Bearer[] {
  const { unsaved } = running.checkpoint;
  if (unsaved === undefined || !running.isHeld) return [];
  const { jobId, token } = running.job;
  return [{ jobId, token, running, unsaved, checkpoint: unsaved.data }];
}

export function weigh({ checkpoint }: Bearer): number {
  return weightOf(checkpoint.text);
}

/** The order in which the database keeps leases, and renews them fastest. */
function byJobId({ job: one }: Running, { job: other }: Running): number {
  return one.jobId.length - other.jobId.length || (one.jobId < other.jobId ? -1 : 1);
}
