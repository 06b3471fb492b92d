import type {
  Attempt,
  HeartbeatAnswer,
  JobInfo,
  LeasedJob,
  MaintenanceTask,
  QueueStats,
  Settlement,
  TickAnswer,
} from './types.ts';

/*
 * What the functions return, selected so that neither the driver, nor the application's type parsers, nor the
 * session's settings matter: ids and JSON as text, spans and instants as whole milliseconds, in text too, and
 * every name with its schema. One select list and one mapper a shape.
 */

/**
 * Whole milliseconds: how many digits a fraction has is a setting of the session. date_part, since extract
 * computes in numeric, which costs a microsecond each.
 */
const wholeMs = (span: string): string =>
  `pg_catalog.int8(pg_catalog.floor(pg_catalog.date_part('epoch', ${span}) operator(pg_catalog.*) 1000))`;
const asText = (value: string): string => `${value}::pg_catalog.text`;
const ms = (span: string): string => asText(wholeMs(span));

export const NOW_MS = ms('pg_catalog.clock_timestamp()');

export type Row = Readonly<Record<string, unknown>>;

export const LEASED_JOB = `
  job_id::pg_catalog.text, queue, priority::integer, payload::pg_catalog.text, headers::pg_catalog.text, token::pg_catalog.text, fence::pg_catalog.text,
  attempt, failures, losses, releases, checkpoint::pg_catalog.text, ${ms('lease_duration')} as lease_ms,
  ${ms('remaining')} as remaining_ms, ${ms('max_runtime')} as max_runtime_ms,
  ${ms('enqueued_at')} as enqueued_ms`;

export const HEARTBEAT_ANSWER = `
  job_id::pg_catalog.text, status, ${ms('remaining')} as remaining_ms, cancel_requested, cancel_reason`;

export const SETTLEMENT = `job_id::pg_catalog.text, status, late, ${ms('retry_in')} as retry_in_ms`;

export const JOB_INFO = `
  job_id::pg_catalog.text, queue, state, priority::integer, generation::integer, attempt, failures, losses, releases,
  payload::pg_catalog.text, headers::pg_catalog.text, dedup_key, ${ms('enqueued_at')} as enqueued_ms,
  ${ms('run_at')} as run_ms, ${ms('live_until')} as live_until_ms, worker_id::pg_catalog.text, host, pid,
  ${ms('leased_at')} as leased_ms, ${ms('remaining')} as remaining_ms,
  ${ms('heartbeat_age')} as heartbeat_age_ms, cancel_requested, checkpoint::pg_catalog.text,
  ${ms('checkpoint_age')} as checkpoint_age_ms, ${ms('finished_at')} as finished_ms, reason,
  result::pg_catalog.text, late, history::pg_catalog.text`;

export const QUEUE_STAT = `
  queue, paused, scheduled::pg_catalog.text, ready::pg_catalog.text, blocked::pg_catalog.text, leased::pg_catalog.text,
  completed::pg_catalog.text, dead::pg_catalog.text, cancelled::pg_catalog.text, pruned::pg_catalog.text,
  ${ms('oldest_ready_age')} as oldest_ready_age_ms, workers::pg_catalog.text`;

export const TICK_ANSWER = `reaped, promoted, pruned, ${ms('next_due_in')} as next_due_in_ms, workers,
  pg_catalog.to_json(failed)::pg_catalog.text as failed`;

/** nullif, whose "=" is looked for along the search_path. */
function unless(value: string, usual: string): string {
  return `case when ${value} operator(pg_catalog.<>) ${usual} then ${value} end`;
}

export function leasedJob<P>(row: Row): LeasedJob<P> {
  return {
    jobId: text(row.job_id),
    token: text(row.token),
    queue: text(row.queue),
    priority: number(row.priority),
    payload: json(row.payload) as P,
    headers: (json(row.headers) ?? {}) as LeasedJob['headers'],
    fence: BigInt(text(row.fence)),
    attempt: number(row.attempt),
    failures: number(row.failures),
    losses: number(row.losses),
    releases: number(row.releases),
    checkpoint: json(row.checkpoint),
    leaseMs: number(row.lease_ms),
    remainingMs: number(row.remaining_ms),
    maxRuntimeMs: optional(row.max_runtime_ms, number),
    enqueuedAt: instant(row.enqueued_ms),
  };
}

/**
 * The same for a scheduler, whose connection gives every column as text. A row costs by its columns, so what
 * is as in most jobs is null: counters of zero, the length of the lease where it is the expected one ($6), and the
 * time left where it is all of that.
 */
export const UNPARSED_JOB = `
  job_id, token, queue, priority, payload, headers, fence, attempt, ${unless('failures', '0')},
  ${unless('losses', '0')}, ${unless('releases', '0')}, checkpoint,
  ${wholeMs(unless('remaining', 'lease_duration'))}, ${wholeMs('max_runtime')},
  ${wholeMs('enqueued_at')}, ${wholeMs(unless('lease_duration', '$6'))}`;

/** A leased job whose payload is still text: parsed where it is worked on. */
export interface UnparsedJob extends LeasedJob<string> {}

export function unparsedJob(row: readonly (string | null)[], expectedMs: number): UnparsedJob {
  const [jobId, token, queue, priority, payload, headers, fence, attempt] = row as string[];
  const [failures, losses, releases, checkpoint, remainingMs, maxRuntimeMs, enqueuedMs, lengthMs] =
    row.slice(8);
  const leaseMs = optional(lengthMs, number) ?? expectedMs;
  return {
    jobId: text(jobId),
    token: text(token),
    queue: text(queue),
    priority: number(priority),
    payload: text(payload),
    headers: (json(headers) ?? {}) as LeasedJob['headers'],
    fence: BigInt(text(fence)),
    attempt: number(attempt),
    failures: number(failures),
    losses: number(losses),
    releases: number(releases),
    checkpoint: json(checkpoint),
    leaseMs,
    remainingMs: optional(remainingMs, number) ?? leaseMs,
    maxRuntimeMs: optional(maxRuntimeMs, number),
    enqueuedAt: instant(enqueuedMs),
  };
}

export function heartbeatAnswer(row: Row): HeartbeatAnswer {
  return {
    jobId: text(row.job_id),
    status: text(row.status) as HeartbeatAnswer['status'],
    remainingMs: optional(row.remaining_ms, number),
    cancelRequested: flag(row.cancel_requested),
    cancelReason: optional(row.cancel_reason, text),
  };
}

export function settlement(row: Row): Settlement {
  return {
    jobId: text(row.job_id),
    status: text(row.status) as Settlement['status'],
    late: flag(row.late),
    retryInMs: optional(row.retry_in_ms, number),
  };
}

export function completed(jobId: string): Settlement {
  return { jobId, status: 'completed', late: false, retryInMs: undefined };
}

export function jobInfo<P, R>(row: Row): JobInfo<P, R> {
  return {
    jobId: text(row.job_id),
    queue: text(row.queue),
    state: text(row.state) as JobInfo['state'],
    priority: number(row.priority),
    generation: number(row.generation),
    attempt: number(row.attempt),
    failures: number(row.failures),
    losses: number(row.losses),
    releases: number(row.releases),
    payload: json(row.payload) as P,
    headers: (json(row.headers) ?? {}) as JobInfo['headers'],
    dedupKey: optional(row.dedup_key, text),
    enqueuedAt: instant(row.enqueued_ms),
    runAt: optional(row.run_ms, instant),
    liveUntil: optional(row.live_until_ms, instant),
    workerId: optional(row.worker_id, text),
    host: optional(row.host, text),
    pid: optional(row.pid, number),
    leasedAt: optional(row.leased_ms, instant),
    remainingMs: optional(row.remaining_ms, number),
    heartbeatAgeMs: optional(row.heartbeat_age_ms, number),
    cancelRequested: flag(row.cancel_requested),
    checkpoint: json(row.checkpoint),
    checkpointAgeMs: optional(row.checkpoint_age_ms, number),
    finishedAt: optional(row.finished_ms, instant),
    reason: optional(row.reason, text),
    result: json(row.result) as R | undefined,
    late: flag(row.late),
    history: ((json(row.history) ?? []) as Row[]).map(attempt),
  };
}

function attempt(row: Row): Attempt {
  return {
    attempt: number(row.attempt),
    outcome: text(row.outcome) as Attempt['outcome'],
    counted: flag(row.counted),
    error: optional(row.error, text),
    workerId: text(row.worker_id),
    leasedAt: new Date(text(row.leased_at)),
    endedAt: new Date(text(row.ended_at)),
  };
}

export function queueStats(row: Row): QueueStats {
  return {
    queue: text(row.queue),
    paused: flag(row.paused),
    scheduled: number(row.scheduled),
    ready: number(row.ready),
    blocked: number(row.blocked),
    leased: number(row.leased),
    completed: number(row.completed),
    dead: number(row.dead),
    cancelled: number(row.cancelled),
    pruned: number(row.pruned),
    oldestReadyAgeMs: optional(row.oldest_ready_age_ms, number),
    workers: number(row.workers),
  };
}

export function tickAnswer(row: Row): TickAnswer {
  return {
    reaped: number(row.reaped),
    promoted: number(row.promoted),
    pruned: number(row.pruned),
    nextDueInMs: optional(row.next_due_in_ms, number),
    workers: number(row.workers),
    failed: json(row.failed) as MaintenanceTask[],
  };
}

/** A pool may have been told to give booleans as the text they come as. */
export const flag = (value: unknown): boolean =>
  value === true || value === 't' || value === 'true';
const text = (value: unknown): string => String(value);
const number = (value: unknown): number => Number(value);
const instant = (value: unknown): Date => new Date(Number(value));
const json = (value: unknown): unknown =>
  value === null || value === undefined ? undefined : JSON.parse(String(value));

function optional<T>(value: unknown, map: (value: unknown) => T): T | undefined {
  return value === null || value === undefined ? undefined : map(value);
}
