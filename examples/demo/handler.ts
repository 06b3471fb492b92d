/* The handler of the demonstration's queue. It runs in a worker thread, which it blocks chunk by chunk. */
import type { Context, Job, JobAbort } from '../../client/index.ts';
import { type FileJob, FileSkipped, type Place, places, START } from './work.ts';

/** A place, and the attempt that came that far. */
export interface Checkpoint extends Place {
  readonly attempt: number;
}

export type FileResult =
  | (Place & {
      /** How many chunks an earlier attempt had done. */
      readonly resumedAt: number;
    })
  | { readonly skipped: string };

export default async function compress(
  job: Job<FileJob, Checkpoint>,
  context: Context<Checkpoint>,
): Promise<FileResult> {
  const { attempt, ...start } = job.checkpoint ?? { ...START, attempt: 0 };
  let last: Place = start;
  try {
    for await (const place of places(job.payload, start)) {
      await context.checkpoint({ ...place, attempt: job.attempt });
      obey(context.signal);
      last = place;
    }
  } catch (error) {
    if (error instanceof FileSkipped) return { skipped: error.message };
    throw error;
  }
  return { ...last, resumedAt: start.chunks };
}

/**
 * A handler should stop whatever its signal says: `signal.throwIfAborted()`. This one goes on when its
 * lease is lost, as code does that never looks, so that the database gets something to refuse.
 */
function obey(signal: AbortSignal): void {
  const reason: JobAbort | undefined = signal.reason;
  if (signal.aborted && reason?.code !== 'lease_lost') throw reason;
}
