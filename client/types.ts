import type { Json } from './json.ts';

/**
 * What the queues of an application carry: `{ render: { payload: …; result: …; checkpoint: … } }`. Where a schema
 * transforms, `payload` is what is enqueued and `parsed` what the handler sees, `returned` what it returns
 * and `result` what is stored.
 */
export type QueueTypes<Q> = {
  readonly [N in keyof Q]: QueueType;
  // biome-ignore lint/suspicious/noExplicitAny: an interface has no index signature of any other type
} & Readonly<Record<string, any>>;

/** What one queue carries. */
export interface QueueType {
  readonly payload: unknown;
  readonly parsed?: unknown;
  readonly returned?: unknown;
  readonly result?: unknown;
  readonly checkpoint?: unknown;
}

/** Queues of which nothing is said. */
// biome-ignore lint/suspicious/noExplicitAny: the one place where "anything" is what is meant
export type AnyQueues = Record<string, { payload: any; result: any; checkpoint: any }>;

export type QueueName<Q extends QueueTypes<Q>> = keyof Q & string;
export type PayloadOf<Q extends QueueTypes<Q>, N extends QueueName<Q>> = Q[N]['payload'];
export type ResultOf<Q extends QueueTypes<Q>, N extends QueueName<Q>> = Q[N] extends {
  result: infer R;
}
  ? R
  : unknown;

/** What the handler sees of a payload. */
export type ParsedOf<Q extends QueueTypes<Q>, N extends QueueName<Q>> = Q[N] extends {
  parsed: infer P;
}
  ? P
  : PayloadOf<Q, N>;

/** What the handler returns. */
export type ReturnedOf<Q extends QueueTypes<Q>, N extends QueueName<Q>> = Q[N] extends {
  returned: infer R;
}
  ? R
  : ResultOf<Q, N>;

export type CheckpointOf<Q extends QueueTypes<Q>, N extends QueueName<Q>> = Q[N] extends {
  checkpoint: infer C;
}
  ? C
  : unknown;

/** Told of jobs that become ready; looking for them all the time, so that nobody is told; or neither. */
export type WaitingMode = 'off' | 'told' | 'watching';

/** Defaults of a queue. What is not named stays as it is. Spans in whole milliseconds. */
export interface QueueSettings {
  /** Length of a lease when lease_jobs names none, 1,000 to 86,400,000. @default 60_000 */
  readonly leaseMs?: number | undefined;
  /** The failure that makes a job dead, from 1. @default 10 */
  readonly maxFailures?: number | undefined;
  /** The loss (its worker vanished) that makes a job dead, from 1. @default 3 */
  readonly maxLosses?: number | undefined;
  /** The delay after failure n is random between 0 and this times 2^(n-1). @default 1_000 */
  readonly backoffBaseMs?: number | undefined;
  /** Where that stops growing. @default 3_600_000 */
  readonly backoffMaxMs?: number | undefined;
  /** Longest time one attempt may run, from 1,000; 0: for ever. @default 0 */
  readonly maxRuntimeMs?: number | undefined;
  /** How long a due job may wait for its first start, from 1,000; 0: for ever. @default 0 */
  readonly timeToLiveMs?: number | undefined;
  /** How long completed and cancelled jobs are kept; 0: not at all. @default 86_400_000 */
  readonly keepCompletedMs?: number | undefined;
  /** How long dead jobs are kept; 0: not at all. @default 2_592_000_000 */
  readonly keepDeadMs?: number | undefined;
  /** Largest payload as JSON text, in bytes. @default 1_048_576 */
  readonly maxPayloadBytes?: number | undefined;
}

/** What may be said of a job when it is enqueued. */
export interface EnqueueOptions {
  /** 0 (first) to 9 (last). @default 5 */
  readonly priority?: number | undefined;
  /** Not before this instant, by the database's clock. @default now */
  readonly runAt?: Date | undefined;
  /** The same as a span from now; excludes `runAt`. */
  readonly delayMs?: number | undefined;
  /** While the key is taken, enqueueing it again returns the job that took it. */
  readonly dedupKey?: string | undefined;
  /** How long the key stays taken, from now, and in any case while the job is live. @default 3_600_000 */
  readonly dedupWindowMs?: number | undefined;
  /** What is not the handler's business: trace ids, tenant. */
  readonly headers?: Readonly<Record<string, Json>> | undefined;
  /** @default the queue's */
  readonly maxFailures?: number | undefined;
  /** @default the queue's */
  readonly maxLosses?: number | undefined;
  /** Longest time one attempt may run. @default the queue's */
  readonly maxRuntimeMs?: number | undefined;
  /** How long it may wait for its first start once it is due. @default the queue's */
  readonly timeToLiveMs?: number | undefined;
}

export interface NewJob<P> extends EnqueueOptions {
  readonly payload: P;
}

/** A job and the proof of its lease. */
export interface Lease {
  readonly jobId: string;
  readonly token: string;
}

/** A job as its worker gets it. */
export interface LeasedJob<P = unknown> extends Lease {
  readonly queue: string;
  readonly priority: number;
  readonly payload: P;
  readonly headers: Readonly<Record<string, Json>>;
  /** Grows with every lease of the job, also across a fail-over: for other stores to compare. */
  readonly fence: bigint;
  /** Leases so far, this one included. */
  readonly attempt: number;
  readonly failures: number;
  readonly losses: number;
  readonly releases: number;
  /** What an earlier attempt saved last; undefined: nothing. */
  readonly checkpoint: unknown;
  readonly leaseMs: number;
  /** Time until the lease expires, when the database answered. */
  readonly remainingMs: number;
  /** Longest time this attempt may run; undefined: for ever. */
  readonly maxRuntimeMs: number | undefined;
  readonly enqueuedAt: Date;
}

export interface HeartbeatAnswer {
  readonly jobId: string;
  /** `busy` and `lost` come from heartbeatMany only; heartbeat raises `lease_lost`. */
  readonly status: 'ok' | 'revived' | 'busy' | 'lost';
  /** Time until the lease expires; undefined where there is none. */
  readonly remainingMs: number | undefined;
  readonly cancelRequested: boolean;
  readonly cancelReason: string | undefined;
}

/** How an attempt ended: what this call did, what an earlier one with this token did, or why nothing changed. */
export type SettlementStatus =
  | 'completed'
  | 'failed'
  | 'released'
  | 'dead'
  | 'cancelled'
  | 'already_completed'
  | 'already_failed'
  | 'already_released'
  | 'already_dead'
  | 'already_cancelled'
  /** Another transaction holds the row just now: nothing changed, ask again. */
  | 'busy'
  | 'lease_lost'
  | 'job_not_found'
  | 'job_cancelled'
  | 'job_finished';

export interface Settlement {
  readonly jobId: string;
  /** The last five come from the many-forms only; single calls wait, and raise. */
  readonly status: SettlementStatus;
  /** The lease had expired, but nobody had leased the job since. */
  readonly late: boolean;
  /** Time until the job is due again, for `failed` and `released`. */
  readonly retryInMs: number | undefined;
}

export type JobState =
  | 'scheduled'
  | 'ready'
  | 'blocked'
  | 'leased'
  | 'completed'
  | 'dead'
  | 'cancelled';

/** An attempt that did not end in success. */
export interface Attempt {
  readonly attempt: number;
  readonly outcome: 'failed' | 'expired' | 'overran' | 'released' | 'dead_lettered' | 'cancelled';
  /** Whether it spent a failure or a loss. */
  readonly counted: boolean;
  readonly error: string | undefined;
  readonly workerId: string;
  readonly leasedAt: Date;
  readonly endedAt: Date;
}

/** Where a job is and what happened to it. */
export interface JobInfo<P = unknown, R = unknown> {
  readonly jobId: string;
  readonly queue: string;
  readonly state: JobState;
  readonly priority: number;
  readonly generation: number;
  readonly attempt: number;
  readonly failures: number;
  readonly losses: number;
  readonly releases: number;
  readonly payload: P;
  readonly headers: Readonly<Record<string, Json>>;
  readonly dedupKey: string | undefined;
  readonly enqueuedAt: Date;
  readonly runAt: Date | undefined;
  /** When it is dead unless it has been started; undefined: never, or it has. */
  readonly liveUntil: Date | undefined;
  readonly workerId: string | undefined;
  readonly host: string | undefined;
  readonly pid: number | undefined;
  readonly leasedAt: Date | undefined;
  /** Negative for a lease that has expired and has not been reaped. */
  readonly remainingMs: number | undefined;
  readonly heartbeatAgeMs: number | undefined;
  readonly cancelRequested: boolean;
  readonly checkpoint: unknown;
  readonly checkpointAgeMs: number | undefined;
  readonly finishedAt: Date | undefined;
  readonly reason: string | undefined;
  readonly result: R | undefined;
  readonly late: boolean;
  /** The newest attempts that did not end in success: 100 where `job` shows them, ten where `peek` does. */
  readonly history: readonly Attempt[];
}

export interface QueueStats {
  readonly queue: string;
  readonly paused: boolean;
  readonly scheduled: number;
  readonly ready: number;
  readonly blocked: number;
  readonly leased: number;
  readonly completed: number;
  readonly dead: number;
  readonly cancelled: number;
  /** Jobs removed: kept for no time, past their retention, or purged. */
  readonly pruned: number;
  readonly oldestReadyAgeMs: number | undefined;
  /** Live processes with a handler for the queue. */
  readonly workers: number;
}

/** A part of maintenance that fails, and is tried again, alone. */
export type MaintenanceTask =
  | 'promote'
  | 'reap'
  | 'finished'
  | 'dropped'
  | 'dedup'
  | 'request'
  | 'worker'
  | 'tally'
  | 'mark';

export interface TickAnswer {
  readonly reaped: number;
  readonly promoted: number;
  readonly pruned: number;
  /** Time until there is more to do; undefined: nothing is scheduled. */
  readonly nextDueInMs: number | undefined;
  /** How many workers were seen within the last minute. */
  readonly workers: number;
  /** The tasks that failed; what the others did is kept. The database tries them again later. */
  readonly failed: readonly MaintenanceTask[];
}

export interface WorkerInfo {
  readonly queues: readonly string[];
  readonly concurrency?: number | undefined;
  readonly host?: string | undefined;
  readonly pid?: number | undefined;
  readonly clientVersion?: string | undefined;
  /** A random uuid that the process keeps to itself, the same in every call. */
  readonly secret?: string | undefined;
}
