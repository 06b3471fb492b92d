import type { MessagePort } from 'node:worker_threads';
import type { Instant } from './clock.ts';
import type { Job } from './context.ts';
import type { AbortReason, JobRef } from './events.ts';
import type { Outcome } from './running.ts';
import type { Settlement } from './types.ts';

/** What a thread is given to do. */
export interface ThreadTask {
  /** URL of the module whose default export is the handler. */
  readonly module: string;
  /** The job to run it for; undefined: only to see whether it can be had. */
  readonly run: ThreadRun | undefined;
}

/** One job for a thread. */
export interface ThreadRun {
  /** The job. Its payload is JSON text still, parsed in the thread, unless a schema has seen it. */
  readonly job: Job;
  readonly isParsed: boolean;
  readonly lease: ThreadLease;
  readonly port: MessagePort;
}

export interface ThreadLease {
  readonly token: string;
  readonly fence: bigint;
  /** When it counts as lost, and when the longest runtime has passed; undefined: never. By shared clocks. */
  readonly until: Instant | undefined;
  readonly runsUntil: Instant | undefined;
}

/** What the scheduler says to the thread while the handler runs. */
export type ToThread =
  | { readonly type: 'abort'; readonly reason: AbortReason }
  | { readonly type: 'lease'; readonly lease: ThreadLease }
  /** A checkpoint that is waited for, or a later one, is saved. */
  | { readonly type: 'saved'; readonly checkpoint: number }
  | { readonly type: 'refused'; readonly checkpoint: number; readonly reason: Refusal };

/** An error, of which not all can be sent. */
export interface Refusal {
  readonly kind: 'abort' | 'leasehold' | 'other';
  readonly code: string;
  readonly message: string;
}

/** What the thread says to the scheduler. What it has sent arrives, however the thread ends. */
export type FromThread =
  /** The module is there and the handler is called; `first`: of all jobs of this thread. */
  | { readonly type: 'began'; readonly first: boolean }
  | {
      readonly type: 'checkpoint';
      readonly checkpoint: number;
      readonly text: string;
      readonly flush: boolean;
    }
  /** Said before a transaction may complete the job, and when it is known to have come to nothing. */
  | { readonly type: 'completing'; readonly completedIn: boolean }
  | { readonly type: 'completed'; readonly settlement: Settlement }
  /** The handler's signal has fired, by the clock of the thread. */
  | { readonly type: 'aborted'; readonly reason: AbortReason }
  /** What an earlier job of this thread left behind threw. */
  | { readonly type: 'strayed'; readonly job: JobRef; readonly error: string }
  | { readonly type: 'answer'; readonly answer: ThreadAnswer };

/**
 * How the handler ended. What it said before goes with it: a message of its own might be read after this one.
 */
export type ThreadAnswer = {
  readonly declared: Outcome | undefined;
} & ThreadEnd;

export type ThreadEnd =
  /** JSON text of what it returned. */
  | { readonly result: string | undefined }
  /** What it threw, as text, since not all can be sent; `unclear`: or what an earlier job left behind did. */
  | { readonly thrown: string; readonly unclear?: boolean }
  /** Why its module cannot be had: it was not called. */
  | { readonly missing: string }
  /** What an earlier job of this thread left behind has ended it. */
  | { readonly interrupted: string };
