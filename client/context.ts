import type pg from 'pg';
import type { Queryable } from './client.ts';
import type { Json } from './json.ts';

/** A job as its handler sees it. */
export interface Job<P = unknown, C = unknown> {
  readonly id: string;
  readonly queue: string;
  readonly payload: P;
  readonly headers: Readonly<Record<string, Json>>;
  readonly priority: number;
  /** Leases so far, this one included. */
  readonly attempt: number;
  readonly failures: number;
  readonly losses: number;
  /** What an earlier attempt saved last; undefined: nothing. */
  readonly checkpoint: C | undefined;
  readonly enqueuedAt: Date;
}

/**
 * What a handler can do besides returning (the job is complete) and throwing (it failed). To be passed on
 * whole, or taken apart by name: a copy of it (`{ ...context }`) has none of its members.
 */
export interface Context<C = unknown> {
  /**
   * Fires when the handler must stop, with a {@link JobAbort} whose `code` is `lease_lost`,
   * `cancelled`, `max_runtime` or `shutdown`. Throw then; returning means that the job is done. `aborted`,
   * `reason` and `throwIfAborted()` look at the clock, so they are right at once after code that kept its thread
   * busy; listeners are called then too.
   */
  readonly signal: AbortSignal;
  /** For other stores to compare: grows with every lease of the job. */
  readonly fence: bigint;
  /** The proof of the lease as it is now, for `assertLease` in a transaction of the handler's own. */
  readonly token: string;
  /** Time until the signal fires by itself, unless the lease is renewed meanwhile. */
  remainingMs(): number;
  /**
   * Keeps what the next attempt is to resume from, at most 1 MiB as JSON. Values that come faster
   * than the scheduler's `checkpointMs` replace each other; the last one is always saved before the
   * attempt ends. Resolves at once, and rejects what cannot be stored. With `flush` the value is sent at
   * once, and it resolves when that value or a later one is saved. It rejects with the database's error if
   * the value is refused, with the signal's reason if that fires first, and with `lease_lost` if the attempt
   * is over: a value that was not refused is still saved before the attempt ends, if that can be. Nobody has
   * to await it.
   */
  checkpoint(data: C, options?: { flush?: boolean | undefined }): Promise<void>;
  /** Settles the job as failed, whatever the handler does after; the first such call counts. */
  fail(
    error: unknown,
    options?: { retryInMs?: number | undefined; retryable?: boolean | undefined },
  ): void;
  /** Hands the job back, free of charge. */
  release(options?: { delayMs?: number | undefined }): void;
  /** Gives the job up, for a person to look at. */
  deadLetter(reason?: string): void;
  /**
   * Runs `work` in a transaction that also completes the job: its rows and the completion commit together or
   * not at all. What `work` returns is the job's result; what the handler returns afterwards is ignored.
   *
   * The connection is the scheduler's: at most ten, opened if need be. The transaction is READ COMMITTED and
   * holds the lease to its end, whatever the signal says; throw to roll it back. `work` leaves begin, commit
   * and rollback alone.
   *
   * Resolves once the commit is certain. Rejects as `work` did, with `lease_lost` and its like, or with
   * `effects_not_committed` if the error of a statement was caught. Nothing of the transaction is there then, and it
   * may be called again. A result that cannot be stored gives the job up, as a returned one does. If the signal
   * fires before the transaction begins, it rejects with the signal's reason.
   *
   * If the connection is lost at the commit, the database is asked. If it cannot be asked before the signal
   * fires, a return only confirms, as after {@link completeIn}.
   */
  transaction<R>(work: (transaction: pg.ClientBase) => Promise<R>): Promise<R>;
  /**
   * Completes the job in a transaction of the handler's own, on a connection that knows our tables: its rows
   * and the completion commit together or not at all. Prefer {@link transaction}, which cannot be misused.
   *
   * Return after the commit: from here on a return only confirms. If the transaction did not commit, the
   * attempt fails with `effects_not_committed`; what is thrown fails it as thrown. Rejects a result that cannot
   * be stored, and completes nothing then.
   */
  completeIn(transaction: Queryable, result?: unknown): Promise<void>;
}

/**
 * The user's code for a queue. What it returns is the job's result, as JSON: NaN and Infinity become null, a
 * Date its ISO text, a Map, a Set and an Error an empty object; undefined is no result. A result that cannot be
 * stored never runs the work again. That is a BigInt, a cycle, a NUL character, half a surrogate pair, more
 * than 4,000 levels or 1 MiB. The job is dead at once then; its reason keeps the result as far as it can be said.
 */
export type Handler<P = unknown, R = unknown, C = unknown> = (
  job: Job<P, C>,
  context: Context<C>,
) => Promise<R> | R;
