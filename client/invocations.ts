import { type Instant, now } from './clock.ts';
import type { AbortReason, JobRef, SchedulerEvent } from './events.ts';
import { Hand, MAX_WAIT_MS } from './hand.ts';
import { describeError } from './json.ts';
import { DEFAULTS, type Timing } from './options.ts';
import type { UnparsedJob } from './rows.ts';
import type { Runner } from './runner.ts';
import {
  EFFECTS_NOT_COMMITTED,
  hasCompleted,
  type Outcome,
  Running,
  type RunningOwner,
  reference,
} from './running.ts';
import type { Settler } from './settler.ts';
import type { Share } from './shares.ts';
import { Signal } from './signal.ts';
import { Tempo } from './tempo.ts';
import type { HeartbeatAnswer, Settlement, SettlementStatus } from './types.ts';

/** So many times what a call leases ahead may wait: in hand, and in two calls that follow each other. */
const DEPTH = 3;

export interface InvocationsOptions {
  readonly runners: ReadonlyMap<string, Runner>;
  /** The shares of queues that have limits of their own; undefined: none has. */
  readonly shares: ReadonlyMap<string, Share> | undefined;
  /** There is room again for jobs of queues that were at a limit. */
  readonly onRoom: () => void;
  /** The database's clock, by this machine's: what it said last, and the time since. */
  readonly databaseNow: () => number;
  readonly settler: Settler;
  readonly timing: Timing;
  /** Whether jobs of stuck handlers are released when the scheduler stops. */
  readonly releaseStuck: boolean;
  /** A handler has something to be saved, at once or soon. */
  readonly onCheckpoint: (flush: boolean) => void;
  /** A job has ended that may have been a suspect: the database gives a worker one of them at a time. */
  readonly onSuspectEnded: () => void;
  readonly onEvent: (event: SchedulerEvent) => void;
}

/** A job has lapsed twice before it is a suspect. */
const SUSPECT_ATTEMPT = 3;

/** The handlers at work: begins them, tells them to stop, and sees each outcome to its end. */
export class Invocations {
  readonly #options: InvocationsOptions;
  readonly #running = new Map<string, Running>();
  /** Handlers that have not ended. */
  #working = 0;
  readonly #hand: Hand;
  /** Jobs of which is asked whether a transaction of the handler completed them. */
  readonly #asked = new Set<Running>();
  readonly #owner: RunningOwner = {
    look: (running) => {
      if (running.outcome === undefined) this.#checkDeadlinesOf(running, now());
    },
    stopped: (running, reason) => {
      this.#owner.look(running);
      if (running.outcome === undefined) this.#abort(running, reason);
    },
    completed: (running, { status, late }) => this.#completed(running, status, late),
  };
  #watch: NodeJS.Timeout | undefined;
  #watchMs = 0;
  #stopping = false;

  /** Fires when a handler has ended, and when its outcome is delivered. */
  readonly slotFreed = new Signal();
  readonly tempo: Tempo;

  constructor(options: InvocationsOptions) {
    this.#options = options;
    this.tempo = new Tempo(options.timing.concurrency);
    this.#hand = new Hand(() => {
      // The handlers take longer than they did: others may have slots free for what waits here.
      this.tempo.handlersSlowed(MAX_WAIT_MS);
      this.#emptyHand();
    });
  }

  get running(): ReadonlyMap<string, Running> {
    return this.#running;
  }

  /** Length of the shortest lease that is held. */
  get shortestLeaseMs(): number {
    const { leaseMs } = this.#options.timing;
    if (leaseMs !== undefined) return leaseMs;
    let shortestMs = Infinity;
    for (const { job } of this.#running.values()) shortestMs = Math.min(shortestMs, job.leaseMs);
    return Number.isFinite(shortestMs) ? shortestMs : DEFAULTS.leaseMs;
  }

  /**
   * How many more jobs to lease besides those that are on their way: those that can start now. Where
   * handlers are much faster than the database, also those that will start before it could answer again,
   * and as many for each call that is under way; then outcomes of earlier ones may be on their way still.
   */
  wanted(onTheirWay = 0): number {
    const { ahead } = this.tempo;
    const most = this.#options.timing.concurrency * (1 + ahead);
    const running = this.#running.size + onTheirWay;
    if (ahead === 0) return most - running;
    const begunOrWaiting = this.#working + this.#hand.size + onTheirWay;
    return Math.min(most, DEPTH * most - begunOrWaiting, (DEPTH + 1) * most - running);
  }

  /** Begins a job that was leased, or goes on with it where its handler still runs. */
  take(job: UnparsedJob, sentAt: Instant): void {
    const marginMs = job.leaseMs - this.#options.timing.renewDeadlineOf(job.leaseMs);
    const leased = new Running(job, sentAt, marginMs, this.#owner);
    const running = this.#running.get(job.jobId);
    if (running === undefined) {
      this.#running.set(job.jobId, leased);
      this.#options.shares?.get(job.queue)?.begins();
      this.#startWatch(marginMs);
      if (this.#stopping) this.#release(leased);
      else if (this.#working < this.#options.timing.concurrency) this.#begin(leased);
      else this.#hand.keep(leased);
    } else if (running.settled) {
      // Its handler is stuck, and the verdict on it was delivered: another worker may try.
      void this.#settle(leased, { kind: 'release', delayMs: job.leaseMs });
    } else {
      running.adopt(job, sentAt, marginMs);
      this.#startWatch(marginMs);
      this.#emit({ type: 'job:adopted', ...reference(running) });
    }
  }

  #emptyHand(): void {
    for (const waiting of this.#hand.empty()) this.#release(waiting);
  }

  /** Hands back a job whose handler has not begun, unless the lease is gone or its end was settled. */
  #release(running: Running): void {
    if (running.gone || running.outcome !== undefined) this.#end(running);
    else void this.#settle(running, { kind: 'release' }).then(() => this.#end(running));
  }

  #begin(running: Running): void {
    // Under a lease that ran out on its way somebody else may be about to start the job. One that was
    // told to stop while it waited is over before it has begun.
    if (running.abortReason !== undefined || running.isPastDeadline(now())) {
      this.#release(running);
      return;
    }
    running.beganAt = performance.now();
    const { attempt, enqueuedAt } = running.job;
    const waitMs = Math.max(0, Math.round(this.#options.databaseNow() - enqueuedAt.getTime()));
    this.#emit({
      type: 'job:started',
      ...reference(running),
      ...(attempt === 1 ? { waitMs } : {}),
    });
    void this.#work(running, running.beganAt);
  }

  #fillSlots(): void {
    while (this.#working < this.#options.timing.concurrency) {
      const next = this.#hand.next();
      if (next === undefined) return;
      this.#begin(next);
    }
  }

  async #work(running: Running, beganAt: number): Promise<void> {
    this.#working++;
    const outcome = await this.#outcomeOf(running);
    running.endedAt = performance.now();
    this.tempo.handlerTook(running.endedAt - beganAt);
    this.#working--;
    this.slotFreed.fire();
    this.#fillSlots();
    if (running.settled && running.outcome === undefined) {
      // Its transaction is known to have completed the job: what it declared or threw comes too late.
      const isSaid = running.declared !== undefined || outcome?.kind === 'fail';
      if (outcome !== undefined && outcome !== EFFECTS_NOT_COMMITTED && isSaid) {
        this.#emit({
          type: 'outcome:refused',
          ...reference(running),
          outcome: outcome.kind,
          status: 'already_completed',
          ...(outcome.kind === 'fail' ? { error: outcome.error } : {}),
        });
      }
    } else if (running.outcome === undefined) {
      if (outcome !== undefined) await this.#settle(running, outcome);
      else this.#tell(running, reference(running), { status: 'lease_lost' });
    } else if (outcome?.kind === 'complete') {
      // Its verdict was delivered when it was given up on; what it returned now comes too late.
      this.#emit({
        type: 'outcome:refused',
        ...reference(running),
        outcome: 'complete',
        status: 'lease_lost',
      });
    }
    // Until it is delivered its lease is kept, and stop() waits for it and names it.
    if (running.verdict !== undefined) await running.verdict;
    this.#end(running);
  }

  /** What the handler made of the job. Undefined: nothing to say, the lease was lost. Never rejects. */
  async #outcomeOf(running: Running): Promise<Outcome | undefined> {
    const runner = this.#options.runners.get(running.job.queue);
    if (runner === undefined) return { kind: 'release' };
    try {
      const result = await runner.run(running, (data, flush) => {
        const saved = running.offerCheckpoint(data, flush);
        this.#options.onCheckpoint(flush);
        return saved;
      });
      if (running.declared !== undefined) return running.declared;
      return running.completedIn ? EFFECTS_NOT_COMMITTED : { kind: 'complete', result };
    } catch (thrown) {
      if (running.declared !== undefined) return running.declared;
      switch (running.abortReason) {
        case 'lease_lost':
          // Given up, adopted or kept: handed back for a fresh start, unless somebody else has it.
          return running.gone && !running.completedIn ? undefined : { kind: 'release' };
        case 'shutdown':
          return { kind: 'release' };
        case 'max_runtime':
          return { kind: 'fail', error: 'max_runtime_exceeded' };
        default:
          return { kind: 'fail', error: describeError(thrown) };
      }
    }
  }

  /** Fixes the outcome and delivers it; resolves when the database has answered. */
  async #settle(running: Running, outcome: Outcome): Promise<void> {
    running.outcome = outcome;
    const { token } = running.job;
    const settled = reference(running);
    const settlement = await this.#options.settler.deliver(running, outcome);
    if (settlement === undefined) {
      this.#tell(running, settled, { status: 'unknown' });
      return;
    }

    const adopted = running.job.token !== token;
    if (adopted && endsJob(outcome)) {
      // Had it been accepted, nobody could have leased the job anew: it goes with the new lease.
      return this.#settle(running, outcome);
    }
    const isCompleted = hasCompleted(running, settlement);
    if (wasRefused(settlement) && !isCompleted) {
      // What was given up is offered back: job:lost has said already that somebody else may have it.
      if (outcome.kind !== 'release' || !running.lost || running.completedIn) {
        this.#emit({
          type: 'outcome:refused',
          ...settled,
          outcome: outcome.kind,
          status: settlement.status,
        });
      }
    }
    this.#tell(running, settled, {
      status: isCompleted ? 'already_completed' : settlement.status,
      late: settlement.late,
      retryInMs: isCompleted ? undefined : settlement.retryInMs,
      error:
        isCompleted && outcome === EFFECTS_NOT_COMMITTED
          ? undefined
          : said(running.outcome ?? outcome),
    });
    // The job is to run again, and this process has it already: handed back for a fresh start.
    if (adopted) return this.#settle(running, { kind: 'release' });
    running.settle();
    // It stays, but nobody need wait for its outcome any more.
    if (running.stuck) this.slotFreed.fire();
  }

  /** Tells the end of a job that was started, once. Another one was leased only, and is handed back. */
  #tell(running: Running, job: JobRef, { status, late = false, retryInMs, error }: End): void {
    const { beganAt, endedAt = performance.now() } = running;
    if (beganAt === undefined || running.told) {
      if (/released$/.test(status)) this.#emit({ type: 'job:returned', ...job });
      return;
    }
    running.told = true;
    this.#emit({
      type: 'job:settled',
      ...job,
      status,
      late,
      durationMs: Math.round(endedAt - beganAt),
      ...(retryInMs === undefined ? {} : { retryInMs }),
      ...(error === undefined ? {} : { error }),
    });
  }

  /** A transaction of the handler is known to have completed the job; the handler may go on. */
  #completed(running: Running, status: SettlementStatus, late: boolean): void {
    // An outcome that is on its way will be told the same.
    if (running.settled || running.outcome !== undefined) return;
    running.settle();
    this.#tell(running, reference(running), { status, late });
  }

  #end(running: Running): void {
    running.end();
    const { jobId, queue } = running.job;
    if (this.#running.delete(jobId) && this.#options.shares?.get(queue)?.ends()) {
      this.#options.onRoom();
    }
    if (this.#running.size === 0) this.#stopWatch();
    if (running.job.attempt >= SUSPECT_ATTEMPT) this.#options.onSuspectEnded();
    this.slotFreed.fire();
  }

  /** A heartbeat was told that the lease is lost, or ended by a transaction of the handler. */
  heardLost(running: Running, answer: HeartbeatAnswer): void {
    running.hear?.();
    if (running.settled) return;
    if (running.completedIn) void this.#askWhetherCompleted(running, answer);
    else this.#loseForGood(running, answer);
  }

  /** A lost token changes nothing any more: said of it, this only tells how the attempt ended. */
  async #askWhetherCompleted(running: Running, answer: HeartbeatAnswer): Promise<void> {
    if (this.#asked.has(running)) return;
    this.#asked.add(running);
    const { token } = running.job;
    const settlement = await this.#options.settler.deliver(running, EFFECTS_NOT_COMMITTED);
    this.#asked.delete(running);
    if (settlement === undefined || running.job.token !== token) return;
    if (hasCompleted(running, settlement)) this.#completed(running, 'already_completed', false);
    else if (running.outcome === undefined) this.#loseForGood(running, answer);
  }

  #loseForGood(running: Running, { cancelRequested }: HeartbeatAnswer): void {
    running.gone = true;
    this.#lose(running, cancelRequested ? 'cancelled' : 'lease_lost');
  }

  /** A lease that was given up as lost is held still: left alone it would count as a loss. */
  heardKept(running: Running): void {
    if (running.outcome !== undefined || running.settled) return;
    running.keep();
  }

  /** The lease is gone, or may be: the handler stops (guarantee G10). */
  #lose(running: Running, reason: 'lease_lost' | 'cancelled'): void {
    if (running.lost) return;
    running.lose();
    this.#emit({ type: 'job:lost', ...reference(running) });
    this.#abort(running, reason);
  }

  #abort(running: Running, reason: AbortReason): void {
    if (running.abort(reason)) {
      this.#emit({ type: 'job:aborted', ...reference(running), reason });
    }
  }

  /** Fires the signals whose time has come. */
  checkDeadlines(): void {
    const at = now();
    for (const running of this.#running.values()) {
      // The handler has ended; whether its outcome still counts the database will say.
      if (running.outcome !== undefined) continue;
      this.#checkDeadlinesOf(running, at);

      const abortedForMs = running.abortedForMs(at) ?? 0;
      if (running.abortReason !== undefined && abortedForMs >= this.#options.timing.cancelGraceMs) {
        this.#giveUp(running, running.abortReason);
      }
    }
  }

  #checkDeadlinesOf(running: Running, at: Instant): void {
    if (running.isHeld && running.isPastDeadline(at)) this.#lose(running, 'lease_lost');
    if (running.isPastRuntime(at)) this.#abort(running, 'max_runtime');
  }

  /** The handler ignores its signal. A thread is ended; a function keeps its slot, with the verdict delivered. */
  #giveUp(running: Running, reason: AbortReason): void {
    if (running.givenUp) return;
    running.givenUp = true;
    if (running.kill !== undefined) {
      running.kill();
      return;
    }
    running.stuck = true;
    this.#emit({ type: 'job:stuck', ...reference(running), reason });
    // It would hold the lease, and the verdict would wait for it.
    running.endTransaction?.();
    if (running.settled) return;
    if (reason === 'max_runtime') {
      running.verdict = this.#settle(running, { kind: 'fail', error: 'max_runtime_exceeded' });
    } else if (reason === 'cancelled' && !running.lost) {
      running.verdict = this.#settle(running, {
        kind: 'fail',
        error: 'the handler ignores the cancel',
      });
    } else if (reason === 'shutdown' && this.#options.releaseStuck) {
      running.verdict = this.#settle(running, { kind: 'release' });
    }
  }

  #startWatch(marginMs: number): void {
    // Fine enough that the signal fires well within the margin before the lease expires.
    const periodMs = Math.min(250, Math.max(10, marginMs / 4));
    if (this.#watch !== undefined && periodMs >= this.#watchMs) return;
    this.#stopWatch();
    this.#watchMs = periodMs;
    const heartbeatMs = this.#options.timing.heartbeatOf(this.shortestLeaseMs);
    let lookedAt = performance.now();
    this.#watch = setInterval(() => {
      const lagMs = performance.now() - lookedAt - periodMs;
      lookedAt = performance.now();
      if (lagMs > heartbeatMs / 2) this.#emit({ type: 'loop:lagged', lagMs: Math.round(lagMs) });
      this.checkDeadlines();
    }, periodMs);
  }

  #stopWatch(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }

  /** Jobs that come from here on are released at once, and nobody waits for a slot any more. */
  stop(): void {
    this.#stopping = true;
    this.slotFreed.fire();
  }

  /**
   * Tells every handler to stop, and waits for it so long; what goes on then is given up. Waits for outcomes
   * and for threads that are being ended, in all so long. Resolves to the handlers that nothing can end.
   */
  async shutDown(handlersMs: number, outcomesMs: number): Promise<JobRef[]> {
    const beganAt = performance.now();
    this.#emptyHand();
    const atWork = (running: Running): boolean => running.outcome === undefined;
    for (const running of [...this.#running.values()].filter(atWork)) {
      this.#abort(running, 'shutdown');
    }
    await this.drained(Math.min(handlersMs, this.#options.timing.cancelGraceMs), atWork);
    for (const running of [...this.#running.values()].filter(atWork)) {
      this.#giveUp(running, 'shutdown');
    }
    const isUnderWay = (running: Running): boolean =>
      running.stuck ? running.outcome !== undefined && !running.settled : true;
    await this.drained(outcomesMs - (performance.now() - beganAt), isUnderWay);
    return [...this.#running.values()].filter((running) => running.stuck).map(reference);
  }

  /** Outcomes that the database has not answered. */
  undelivered(): { readonly running: Running; readonly outcome: Outcome }[] {
    return [...this.#running.values()].flatMap((running) =>
      running.outcome === undefined || running.settled
        ? []
        : [{ running, outcome: running.outcome }],
    );
  }

  /** Looks at no deadline any more, and lets handlers go on that wait for a checkpoint to be saved. */
  close(): void {
    this.#hand.empty();
    this.#stopWatch();
    for (const running of this.#running.values()) {
      running.end();
      if (running.beganAt !== undefined) {
        this.#tell(running, reference(running), { status: 'unknown' });
      }
    }
  }

  /** Resolves when no job that matters runs, or the time is up. */
  async drained(ms: number, matters: (running: Running) => boolean = () => true): Promise<void> {
    const deadline = performance.now() + ms;
    while ([...this.#running.values()].some(matters)) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) return;
      await this.slotFreed.wait(leftMs);
    }
  }

  #emit(event: SchedulerEvent): void {
    this.#options.onEvent(event);
  }
}

/** How a job ended, for its event. */
interface End {
  readonly status: SettlementStatus | 'unknown';
  readonly late?: boolean;
  readonly retryInMs?: number | undefined;
  readonly error?: string | undefined;
}

/** What an outcome says went wrong. */
function said(outcome: Outcome): string | undefined {
  if (outcome.kind === 'fail') return outcome.error;
  return outcome.kind === 'dead_letter' ? outcome.reason : undefined;
}

const REFUSALS: readonly string[] = [
  'lease_lost',
  'job_not_found',
  'job_cancelled',
  'job_finished',
];

/** Whether a job with this outcome never runs again. */
function endsJob({ kind }: Outcome): boolean {
  return kind === 'complete' || kind === 'dead_letter';
}

function wasRefused({ status }: Settlement): boolean {
  return REFUSALS.includes(status);
}
