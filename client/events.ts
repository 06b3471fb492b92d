import type { LeaseholdError } from './errors.ts';
import type { MaintenanceTask, SettlementStatus } from './types.ts';

/** Names an attempt of a job. */
export interface JobRef {
  readonly jobId: string;
  readonly queue: string;
  readonly attempt: number;
}

/** Why a handler's signal fired. */
export type AbortReason = 'lease_lost' | 'cancelled' | 'max_runtime' | 'shutdown';

/** What a scheduler tells its `onEvent`. It logs nothing itself. */
export type SchedulerEvent =
  | { readonly type: 'worker:started'; readonly workerId: string }
  /** The last event, whatever handlers that nothing ends do later. */
  | { readonly type: 'worker:stopped'; readonly workerId: string }
  /**
   * A handler begins. `waitMs`: the time since the job was enqueued, a delay that was asked for included, by
   * the database's clock; only of a first attempt.
   */
  | ({ readonly type: 'job:started'; readonly waitMs?: number } & JobRef)
  /**
   * The end of a job that was started: one for each, as soon as the database has confirmed it. After completeIn or
   * transaction that may be before the handler returns. `status`: what became of the job; `lease_lost` and its
   * like, if it was taken away meanwhile; `unknown`, if the database could not be told or asked.
   *
   * `error`: what it failed with, or threw after the commit, or why it is dead. `durationMs`: how long the handler
   * ran, or has run so far. `retryInMs`: time until the job is due again, if it failed or was released.
   */
  | ({
      readonly type: 'job:settled';
      readonly status: SettlementStatus | 'unknown';
      readonly late: boolean;
      readonly durationMs: number;
      readonly retryInMs?: number;
      readonly error?: string;
    } & JobRef)
  /** A job that was leased was handed back without having been started. */
  | ({ readonly type: 'job:returned' } & JobRef)
  /**
   * The handler was told to stop. Its signal fires once: one that ignored the loss of an earlier lease is
   * given up for the second reason all the same, once `cancelGraceMs` has passed.
   */
  | ({ readonly type: 'job:aborted'; readonly reason: AbortReason } & JobRef)
  /** The lease is not certain any more, or another worker has the job. */
  | ({ readonly type: 'job:lost' } & JobRef)
  /** The lease had expired and was taken back. */
  | ({ readonly type: 'job:revived' } & JobRef)
  /** The job was leased anew by this very process, whose handler goes on with the new lease. */
  | ({ readonly type: 'job:adopted' } & JobRef)
  /** The handler goes on although its signal fired long ago; its slot stays taken. */
  | ({ readonly type: 'job:stuck'; readonly reason: AbortReason } & JobRef)
  /**
   * The database refused the outcome of a job that was lost meanwhile: it is discarded. So is what a handler
   * throws once its transaction is known to have completed the job (`already_completed`).
   */
  | ({
      readonly type: 'outcome:refused';
      readonly outcome: OutcomeKind;
      readonly status: SettlementStatus;
      readonly error?: string;
    } & JobRef)
  /** The outcome can never be delivered, since the database does not take what it says, or the scheduler stopped. */
  | ({
      readonly type: 'outcome:undeliverable';
      readonly outcome: OutcomeKind;
      readonly error: unknown;
    } & JobRef)
  /** A call failed and will be made again. */
  | {
      readonly type: 'call:failed';
      readonly call: 'start' | 'lease' | 'heartbeat' | 'settle' | 'tick' | 'listen';
      readonly error: unknown;
    }
  /** A queue that has a handler does not exist, or was dropped: the others are served. Told once. */
  | { readonly type: 'queue:missing'; readonly queue: string }
  /** A queue that was missing is there, and is served. */
  | { readonly type: 'queue:found'; readonly queue: string }
  /**
   * The module of a handler cannot be had any more: its jobs are handed back, and left to other workers. It is
   * looked for again and again. Told once.
   */
  | { readonly type: 'handler:missing'; readonly queue: string; readonly error: LeaseholdError }
  /** It can be had again, and has begun. */
  | { readonly type: 'handler:found'; readonly queue: string }
  /** What a handler left behind in its worker thread threw after its job had ended. Nobody is charged. */
  | ({ readonly type: 'job:strayed'; readonly error: string } & JobRef)
  /**
   * Parts of maintenance failed in the database, which tries them again later. The table `leasehold.upkeep` and the
   * server's log say why.
   */
  | { readonly type: 'maintenance:failed'; readonly tasks: readonly MaintenanceTask[] }
  /** The event loop was blocked, so heartbeats came late. */
  | { readonly type: 'loop:lagged'; readonly lagMs: number }
  | { readonly type: 'listener:connected' }
  | { readonly type: 'listener:lost'; readonly error: unknown }
  /** Notifications do not arrive, or a pooler would lend the session to others: jobs are found by polling. */
  | { readonly type: 'listener:deaf' };

export type OutcomeKind = 'complete' | 'fail' | 'release' | 'dead_letter';
