import type { Client } from './client.ts';
import { backoffMs, type Instant, jittered, now } from './clock.ts';
import { namesItem } from './errors.ts';
import type { SchedulerEvent } from './events.ts';
import { type Running, reference } from './running.ts';
import type { HeartbeatAnswer } from './types.ts';

/** Most leases in one call; the SQL function takes no more. */
const MAX_BATCH = 100_000;

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
  #allDueAt = 0;
  #beating = false;
  #round: Promise<void> = Promise.resolve();
  #failures = 0;
  #checkpointsSentAt = -Infinity;
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
  checkpointOffered(flush: boolean): void {
    const { checkpointMs } = this.#options;
    this.#schedule(
      flush ? 0 : Math.max(0, this.#checkpointsSentAt + checkpointMs - performance.now()),
    );
  }

  /** Jobs were leased, maybe for a shorter time than those before. */
  leased(): void {
    const ms = this.#options.heartbeatMs();
    if (performance.now() + ms < this.#allDueAt) this.#beatAllIn(jittered(ms));
  }

  #beatAllIn(ms: number): void {
    this.#allDueAt = performance.now() + ms;
    this.#schedule(ms);
  }

  /** Brings the next round forward; never puts it off. */
  #schedule(ms: number): void {
    if (this.#stopped) return;
    const dueAt = performance.now() + ms;
    if (this.#timer !== undefined && this.#dueAt <= dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      // The round under way schedules the next one when it ends.
      if (!this.#beating) this.#round = this.#beat();
    }, ms);
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
    const all = performance.now() + 5 >= this.#allDueAt;
    // Who asks for another round from here on gets one: this one may have begun too early for it.
    if (all) this.#allDueAt = Infinity;
    let nextMs = jittered(heartbeatMs);
    try {
      if (await this.#renewAll(all)) nextMs = Math.min(nextMs, heartbeatMs / 4);
      if (all && !this.#stopped) await register();
      this.#failures = 0;
    } catch (error) {
      if (!this.#stopped) onEvent({ type: 'call:failed', call: 'heartbeat', error });
      nextMs = Math.min(heartbeatMs / 4, backoffMs(this.#failures++));
    }
    this.#allDueAt = Math.min(this.#allDueAt, performance.now() + nextMs);
    this.#beating = false;
    this.#schedule(Math.max(0, this.#allDueAt - performance.now()));
    // What was offered while the round was under way.
    for (const running of this.#options.running.values()) {
      if (running.isHeld && running.unsavedCheckpoint !== undefined) {
        this.checkpointOffered(running.flushWanted);
      }
    }
  }

  /** Returns whether a lease could not be renewed because its row was held. */
  async #renewAll(all: boolean): Promise<boolean> {
    const held = [...this.#options.running.values()]
      .filter((running) => running.isHeld && (all || running.unsavedCheckpoint !== undefined))
      .sort(byJobId);
    let busy = false;
    for (let from = 0; from < held.length; from += MAX_BATCH) {
      busy = (await this.#renew(held.slice(from, from + MAX_BATCH))) || busy;
    }
    return busy;
  }

  async #renew(batch: readonly Running[]): Promise<boolean> {
    const sentAt = now();
    const renewals = batch.map((running) => ({
      jobId: running.job.jobId,
      token: running.job.token,
      checkpoint: running.unsavedCheckpoint,
    }));
    if (renewals.some(({ checkpoint }) => checkpoint)) {
      this.#checkpointsSentAt = performance.now();
    }
    let answers: HeartbeatAnswer[];
    try {
      answers = await this.#options.client.heartbeatMany(renewals);
    } catch (error) {
      if (!namesItem(error) || !renewals.some(({ checkpoint }) => checkpoint)) throw error;
      if (batch.length > 1) return this.#renewApart(batch);
      // The one that the database refuses, for its encoding say, is not sent again.
      this.#options.onEvent({ type: 'call:failed', call: 'heartbeat', error });
      const [running, refused] = [batch[0], renewals[0]?.checkpoint];
      if (refused) running?.checkpointSaved(refused);
      return this.#renew(batch);
    }

    let busy = false;
    for (const [index, running] of batch.entries()) {
      const [renewal, answer] = [renewals[index], answers[index]];
      // The job may have been leased anew meanwhile: what was said of the old token does not concern it.
      if (answer === undefined || renewal?.token !== running.job.token) continue;
      busy ||= answer.status === 'busy';
      if (renewal.checkpoint && answer.status !== 'busy') {
        running.checkpointSaved(renewal.checkpoint);
      }
      this.#take(running, answer, sentAt);
    }
    return busy;
  }

  /** The database refuses a checkpoint: that must not cost the other leases. */
  async #renewApart(batch: readonly Running[]): Promise<boolean> {
    const isBearer = (running: Running): boolean => running.unsavedCheckpoint !== undefined;
    const others = batch.filter((running) => !isBearer(running));
    let busy = others.length > 0 && (await this.#renew(others));
    for (const bearer of batch.filter(isBearer)) busy = (await this.#renew([bearer])) || busy;
    return busy;
  }

  #take(running: Running, answer: HeartbeatAnswer, sentAt: Instant): void {
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

/** The order in which the database keeps leases, and renews them fastest. */
function byJobId({ job: one }: Running, { job: other }: Running): number {
  return one.jobId.length - other.jobId.length || (one.jobId < other.jobId ? -1 : 1);
}
