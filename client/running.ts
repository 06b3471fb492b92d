import { CheckpointSlot } from './checkpoint.ts';
import { after, type Instant, msUntil, now } from './clock.ts';
import { LeaseholdError } from './errors.ts';
import type { AbortReason, JobRef } from './events.ts';
import { describeError, type JsonText } from './json.ts';
import type { UnparsedJob } from './rows.ts';
import type { Settlement } from './types.ts';
import { watched } from './watched-signal.ts';

/** What a handler's signal aborts with. Named so that fetch and its like take it for their own. */
export class JobAbort extends Error {
  override readonly name = 'AbortError';
  readonly code: AbortReason;

  constructor(code: AbortReason) {
    super(ABORT_MESSAGES[code]);
    this.code = code;
  }
}

const ABORT_MESSAGES: Readonly<Record<AbortReason, string>> = {
  lease_lost: 'the lease on the job is lost, or can no longer be certain',
  cancelled: 'somebody asked for the job to be cancelled',
  max_runtime: 'the longest runtime of the job has passed',
  shutdown: 'the scheduler is stopping',
};

/** How an attempt ends. Once it is set it is only delivered, never changed, unless the database does not take it. */
export type Outcome =
  | { readonly kind: 'complete'; readonly result: JsonText | undefined }
  | {
      readonly kind: 'fail';
      readonly error: string;
      readonly retryInMs?: number | undefined;
      readonly retryable?: boolean | undefined;
    }
  | { readonly kind: 'release'; readonly delayMs?: number | undefined }
  | { readonly kind: 'dead_letter'; readonly reason?: string | undefined };

/**
 * What a return says after completeIn. The database refuses it if the transaction committed: its token has
 * completed the job then. So no order of events lets a return complete a job whose effects are gone.
 */
export const EFFECTS_NOT_COMMITTED = { kind: 'fail', error: 'effects_not_committed' } as const;

/** Whether this settlement says that a transaction of the handler has completed the job. */
export function hasCompleted(
  { completedIn, isCertain }: Pick<Running, 'completedIn' | 'isCertain'>,
  { status }: Settlement,
): boolean {
  if (status === 'already_completed') return true;
  // A queue that keeps nothing has erased it; so might another worker have, had it leased the job since.
  return status === 'job_not_found' && completedIn && isCertain;
}

/** What ctx.fail says. A delay that the database would refuse is refused here, while somebody can mend it. */
export function failure(
  error: unknown,
  options: { retryInMs?: number | undefined; retryable?: boolean | undefined },
): Outcome {
  requireDelay('retryInMs', options.retryInMs);
  const { retryInMs, retryable } = options;
  return { kind: 'fail', error: describeError(error), retryInMs, retryable };
}

/** What ctx.release says. */
export function release(options: { delayMs?: number | undefined }): Outcome {
  requireDelay('delayMs', options.delayMs);
  return { kind: 'release', delayMs: options.delayMs };
}

/** What ctx.deadLetter says. */
export function deadLetter(reason: unknown): Outcome {
  return { kind: 'dead_letter', reason: reason === undefined ? undefined : describeError(reason) };
}

const MAX_DELAY_MS = 10 * 365 * 86_400_000;

function requireDelay(name: string, ms: number | undefined): void {
  if (ms !== undefined && !(ms >= 0 && ms <= MAX_DELAY_MS)) {
    throw new LeaseholdError(
      'invalid_argument',
      `${name} must be between 0 and ${MAX_DELAY_MS}, got ${ms}`,
    );
  }
}

/** Who is told what becomes known of a running job while its handler works. */
export interface RunningOwner {
  /** The handler asks whether it is to stop: its deadlines may have passed while it kept the thread busy. */
  look(running: Running): void;
  /** The handler has been told to stop, by its own thread. */
  stopped(running: Running, reason: AbortReason): void;
  /** A transaction of the handler has committed: it completed the job. */
  completed(running: Running, settlement: Settlement): void;
}

/** One invocation of a handler, and the lease it works under. */
export class Running {
  /** The newest lease: replaced when this process leases the job again while the handler runs. */
  #job: UnparsedJob;
  readonly #owner: RunningOwner;
  /** How much earlier than the expiry the lease counts as uncertain. */
  #marginMs: number;
  #deadline: Instant;
  #runsUntil: Instant | undefined;
  /** Made when somebody asks for the signal: most short jobs never do. */
  #abort: AbortController | undefined;
  #aborted: { readonly reason: AbortReason; readonly at: Instant } | undefined;
  #lost = false;
  #settled = false;
  #ended = false;

  readonly checkpoint = new CheckpointSlot();
  /** When the handler began, and ended, on the monotonic clock. */
  beganAt: number | undefined;
  endedAt: number | undefined;
  /** How it ended was told: once is enough. */
  told = false;
  /** The handler ignored its signal for too long: it was ended by force, or is stuck. */
  givenUp = false;
  /** The handler was given up on and goes on; nothing can end it. */
  stuck = false;
  /** The database has said that the lease is gone. Until then the job is handed back, also when it was given up. */
  gone = false;
  /** A transaction of the handler has completed the job, or may do so: a return only confirms. */
  completedIn = false;
  /** What ctx.fail, ctx.release or ctx.deadLetter said; the first counts. */
  declared: Outcome | undefined;
  /** Set once, when the handler has ended or was given up on. */
  outcome: Outcome | undefined;
  /** Settles when the verdict on a handler that was given up on is delivered, or never will be. */
  verdict: Promise<void> | undefined;
  /** Called when the handler is given up on and can be ended by force. */
  kill: (() => void) | undefined;
  /** Called when the lease was renewed or replaced, or is needed no more. */
  onLease: (() => void) | undefined;
  /** Takes in what the handler said in its thread and nobody has heard yet. */
  hear: (() => void) | undefined;
  /** Ends the transaction that the handler has open, by force: called when the handler is given up on. */
  endTransaction: (() => void) | undefined;

  constructor(job: UnparsedJob, sentAt: Instant, marginMs: number, owner: RunningOwner) {
    this.#job = job;
    this.#owner = owner;
    this.#marginMs = marginMs;
    this.#deadline = after(sentAt, job.remainingMs - marginMs);
    this.#runsUntil = runsUntil(job, sentAt);
  }

  get job(): UnparsedJob {
    return this.#job;
  }

  /** The lease is gone or uncertain: the handler was told to stop. */
  get lost(): boolean {
    return this.#lost;
  }

  /** The database has confirmed how the attempt ended: there is no lease any more. */
  get settled(): boolean {
    return this.#settled;
  }

  /** The lease is there, as far as is known, and is to be kept. */
  get isHeld(): boolean {
    return !this.#lost && !this.#settled;
  }

  /** Whether nobody else can have leased the job yet. */
  get isCertain(): boolean {
    return !this.#lost && !this.isPastDeadline(now());
  }

  /** When the lease counts as lost, and when the longest runtime has passed. */
  get deadlines(): { readonly lease: Instant; readonly runtime: Instant | undefined } {
    return { lease: this.#deadline, runtime: this.#runsUntil };
  }

  /** The handler has been told to stop, by its own thread. */
  stopped(reason: AbortReason): void {
    this.#owner.stopped(this, reason);
  }

  /** A transaction of the handler has committed, and completed the job. */
  completed(settlement: Settlement): void {
    this.#owner.completed(this, settlement);
  }

  /** The attempt is over, though its handler may go on: what it offers now is saved no more. */
  settle(): void {
    this.#settled = true;
    this.onLease?.();
    this.checkpoint.clear();
    this.checkpoint.release();
  }

  /** Nobody waits for a checkpoint any more; it is kept in case this process leases the job again. */
  lose(): void {
    this.#lost = true;
    // It may have been given up under an earlier lease, and gone on under this one.
    this.givenUp = false;
    this.checkpoint.release(() => new JobAbort('lease_lost'));
  }

  /** It was not lost after all, and is renewed again until the handler, which was told, has ended. */
  keep(): void {
    this.#lost = false;
    this.stuck = false;
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      watched(this.#abort.signal, () => this.#owner.look(this));
      if (this.#aborted) this.#abort.abort(new JobAbort(this.#aborted.reason));
    }
    return this.#abort.signal;
  }

  get abortReason(): AbortReason | undefined {
    return this.#aborted?.reason;
  }

  /** Time until the handler is told to stop, by the lease or the longest runtime. */
  remainingMs(): number {
    if (this.#lost) return 0;
    const at = now();
    const lease = msUntil(this.#deadline, at);
    const runtime = this.#runsUntil === undefined ? lease : msUntil(this.#runsUntil, at);
    return Math.max(0, Math.min(lease, runtime));
  }

  /** The lease is good for another span, counted from when the call was sent. */
  renewed(sentAt: Instant, remainingMs: number): void {
    this.#deadline = after(sentAt, remainingMs - this.#marginMs);
    this.onLease?.();
  }

  /** This process leased the job again: the handler goes on under the new lease. */
  adopt(job: UnparsedJob, sentAt: Instant, marginMs: number): void {
    this.#job = job;
    this.#marginMs = marginMs;
    this.#runsUntil = runsUntil(job, sentAt);
    this.keep();
    this.gone = false;
    this.renewed(sentAt, job.remainingMs);
  }

  isPastDeadline(at: Instant): boolean {
    return msUntil(this.#deadline, at) <= 0;
  }

  isPastRuntime(at: Instant): boolean {
    return this.#runsUntil !== undefined && msUntil(this.#runsUntil, at) <= 0;
  }

  /**
   * Tells the handler to stop, and lets go who waits for a checkpoint. Returns false if it was told before,
   * unless it was for a lease that is held again: its signal cannot fire twice, but it can be given up for
   * another reason.
   */
  abort(reason: AbortReason): boolean {
    const isHeldAgain = this.#aborted?.reason === 'lease_lost' && !this.#lost;
    if (this.#aborted !== undefined && !(isHeldAgain && reason !== 'lease_lost')) return false;
    this.#aborted = { reason, at: now() };
    this.givenUp = false;
    this.stuck = false;
    this.#abort?.abort(new JobAbort(reason));
    this.checkpoint.release(() => new JobAbort(reason));
    return true;
  }

  /** Time since the signal fired; undefined where it has not. */
  abortedForMs(at: Instant): number | undefined {
    return this.#aborted === undefined ? undefined : -msUntil(this.#aborted.at, at);
  }

  /**
   * Keeps the newest checkpoint until it is saved. With `flush` resolves then; rejects if the value can never be
   * saved, when the signal fires, and when the attempt is over. Nothing need be saved of a job that has ended.
   */
  async offerCheckpoint(data: JsonText, flush: boolean): Promise<void> {
    if (this.#settled) return;
    // Nobody saves it any more.
    if (this.#ended) throw isOver();
    this.checkpoint.offer(data);
    if (!flush) return;
    if (this.#lost) throw new JobAbort('lease_lost');
    await this.checkpoint.wait();
  }

  /** Lets those who wait for a checkpoint go on: the attempt is over. */
  end(): void {
    this.#ended = true;
    this.checkpoint.clear();
    this.checkpoint.release(isOver);
  }
}

function isOver(): LeaseholdError {
  return new LeaseholdError('lease_lost', 'the attempt was over before the checkpoint was saved');
}

/** Names a running job in an event. */
export function reference(running: Running): JobRef {
  const { jobId, queue, attempt } = running.job;
  return { jobId, queue, attempt };
}

function runsUntil(job: UnparsedJob, sentAt: Instant): Instant | undefined {
  if (job.maxRuntimeMs === undefined) return undefined;
  // A repeated lease_jobs call answers late: what has passed of the lease has passed of the runtime.
  return after(sentAt, job.maxRuntimeMs - (job.leaseMs - job.remainingMs));
}
