import type { MessagePort } from 'node:worker_threads';
import type { Job } from './context.ts';
import type { AbortReason } from './events.ts';
import type { Outcome } from './running.ts';
import type { Settlement } from './types.ts';

/** What a thread is given to run one job. */
export interface ThreadTask {
  /** URL of the module whose default export is the handler. */
  readonly module: string;
  /** The job; its payload is JSON text still, parsed in the thread. */
  readonly job: Job<string>;
  readonly lease: ThreadLease;
  readonly port: MessagePort;
}

export interface ThreadLease {
  readonly token: string;
  readonly fence: bigint;
  readonly remainingMs: number;
}

/** What the scheduler says to the thread while the handler runs. */
export type ToThread =
  | { readonly type: 'abort'; readonly reason: AbortReason }
  | { readonly type: 'lease'; readonly lease: ThreadLease }
  | { readonly type: 'saved'; readonly checkpoint: number };

/** What the thread says to the scheduler while the handler runs. */
export type FromThread =
  | {
      readonly type: 'checkpoint';
      readonly checkpoint: number;
      readonly text: string;
      readonly flush: boolean;
    }
  /** Said before a transaction may complete the job, and when it is known to have come to nothing. */
  | { readonly type: 'completing'; readonly completedIn: boolean }
  | { readonly type: 'completed'; readonly settlement: Settlement };

/**
 * How the handler ended: JSON text of its result, or what it threw as text, since not all can be
 * sent. What it said before goes with it: a message of its own might arrive after this one.
 */
export type ThreadAnswer = {
  readonly declared: Outcome | undefined;
  /** The last checkpoint, where nothing has confirmed yet that it is saved. */
  readonly unsaved: string | undefined;
} & ({ readonly result: string | undefined } | { readonly thrown: string });
