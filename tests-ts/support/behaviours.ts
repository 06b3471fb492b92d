/* What a test's job says its handler is to do, and the handler that does it. Also a thread's module. */
import { setTimeout as sleep } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import pg from 'pg';
import { type Context, type Job, JobAbort } from '../../client/index.ts';

/** The payload of a job. */
export type Behaviour =
  | { readonly do: 'return'; readonly result?: unknown }
  /** Works for so long, and throws as soon as the signal fires. */
  | { readonly do: 'sleep'; readonly ms: number }
  /** Works to its end whatever the signal says, and returns. */
  | { readonly do: 'ignore-abort'; readonly ms: number }
  /** Works until the signal fires, and returns then. */
  | { readonly do: 'return-on-abort' }
  /** Keeps its thread busy: the event loop's of the process, or its own. */
  | { readonly do: 'block'; readonly ms: number }
  /** Saves `{ step: 1 }`, `{ step: 2 }`, … from where an earlier attempt got to, flushing each. */
  | { readonly do: 'checkpoints'; readonly steps: number; readonly stepMs: number }
  /** Offers checkpoints without flushing them, then does the rest. */
  | { readonly do: 'offer-checkpoints'; readonly steps: number; readonly next: Behaviour }
  /** Ends the process at once, as the kernel would. */
  | { readonly do: 'crash'; readonly afterMs?: number }
  | { readonly do: 'fail'; readonly message?: string; readonly retryInMs?: number }
  | { readonly do: 'release'; readonly delayMs?: number }
  | { readonly do: 'dead-letter'; readonly reason?: string }
  /** Another behaviour for each attempt; the last one for all that follow. */
  | { readonly do: 'by-attempt'; readonly attempts: readonly Behaviour[] };

/** The result of a job that completed. */
export interface Done {
  /** Name of the worker process. */
  readonly by: string;
  readonly attempt: number;
  /** 0: the main thread. */
  readonly thread: number;
  /** The step that an earlier attempt's checkpoint named; 0: there was none. */
  readonly resumedFrom: number;
  readonly result?: unknown;
}

/** Where runs are written down, and under which name. In the environment, so that threads know. */
const RECORD_URL = process.env.LEASEHOLD_WORKER_RECORD_URL ?? '';
const NAME = process.env.LEASEHOLD_WORKER_NAME ?? 'worker';

/** What a handler in the main thread says to the worker process, for it to report. */
export type HandlerReport =
  | { readonly type: 'handler:started'; readonly jobId: string; readonly attempt: number }
  | {
      readonly type: 'handler:aborted';
      readonly jobId: string;
      readonly attempt: number;
      readonly reason: string;
    }
  | {
      readonly type: 'handler:ended';
      readonly jobId: string;
      readonly attempt: number;
      readonly outcome: string;
    };

let report: (handler: HandlerReport) => void = () => undefined;

export function onReport(callback: (handler: HandlerReport) => void): void {
  report = callback;
}

let pool: pg.Pool | undefined;

/** A pool of our own, past any proxy: what happened must be known whatever fails. */
function recorder(): pg.Pool {
  if (pool === undefined) {
    pool = new pg.Pool({ connectionString: RECORD_URL, max: 2, application_name: 'recorder' });
    pool.on('error', () => undefined);
  }
  return pool;
}

export async function closeRecorder(): Promise<void> {
  await pool?.end();
}

export default async function behave(job: Job<Behaviour>, context: Context): Promise<Done> {
  const reference = { jobId: job.id, attempt: job.attempt };
  const invocation = await started(job);
  report({ type: 'handler:started', ...reference });
  const onAbort = (): void =>
    report({ type: 'handler:aborted', ...reference, reason: codeOf(context.signal.reason) });
  if (context.signal.aborted) onAbort();
  else context.signal.addEventListener('abort', onAbort);

  const ended = async (outcome: string): Promise<void> => {
    context.signal.removeEventListener('abort', onAbort);
    report({ type: 'handler:ended', ...reference, outcome });
    await recorder().query(
      'update public.invocation set ended_at = clock_timestamp(), outcome = $2 where invocation_id = $1',
      [invocation, outcome],
    );
  };
  try {
    const result = await carryOut(job.payload, job, context);
    await ended('returned');
    return {
      by: NAME,
      attempt: job.attempt,
      thread: threadId,
      resumedFrom: stepOf(job.checkpoint),
      ...(result === undefined ? {} : { result }),
    };
  } catch (thrown) {
    await ended(thrown instanceof JobAbort ? thrown.code : 'threw');
    throw thrown;
  }
}

async function started(job: Job<Behaviour>): Promise<string> {
  const { rows } = await recorder().query<{ invocation_id: string }>(
    `insert into public.invocation (job_id, attempt, worker, pid)
     values ($1, $2, $3, $4) returning invocation_id`,
    [job.id, job.attempt, NAME, process.pid],
  );
  return rows[0]?.invocation_id ?? '';
}

async function carryOut(behaviour: Behaviour, job: Job, context: Context): Promise<unknown> {
  const { signal } = context;
  switch (behaviour.do) {
    case 'return':
      return behaviour.result;
    case 'sleep':
      await rest(behaviour.ms, signal);
      return undefined;
    case 'ignore-abort':
      await sleep(behaviour.ms);
      return undefined;
    case 'return-on-abort':
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve());
      });
      return undefined;
    case 'block': {
      const end = performance.now() + behaviour.ms;
      while (performance.now() < end);
      return undefined;
    }
    case 'checkpoints':
      for (let step = stepOf(job.checkpoint) + 1; step <= behaviour.steps; step++) {
        await rest(behaviour.stepMs, signal);
        await context.checkpoint({ step }, { flush: true });
      }
      return undefined;
    case 'offer-checkpoints':
      for (let step = 1; step <= behaviour.steps; step++) void context.checkpoint({ step });
      return carryOut(behaviour.next, job, context);
    case 'crash':
      await sleep(behaviour.afterMs ?? 0);
      process.kill(process.pid, 'SIGKILL');
      // The kernel takes a moment.
      return sleep(60_000);
    case 'fail':
      if (behaviour.retryInMs !== undefined) {
        context.fail(behaviour.message ?? 'as told', { retryInMs: behaviour.retryInMs });
        return undefined;
      }
      throw new Error(behaviour.message ?? 'as told');
    case 'release':
      context.release(behaviour.delayMs === undefined ? {} : { delayMs: behaviour.delayMs });
      return undefined;
    case 'dead-letter':
      context.deadLetter(behaviour.reason);
      return undefined;
    case 'by-attempt': {
      const { attempts } = behaviour;
      const chosen = attempts[Math.min(job.attempt, attempts.length) - 1];
      if (chosen === undefined) throw new TypeError('by-attempt names no behaviour');
      return carryOut(chosen, job, context);
    }
  }
}

async function rest(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch((error: unknown) => {
    throw signal.aborted ? signal.reason : error;
  });
}

function stepOf(checkpoint: unknown): number {
  return typeof checkpoint === 'object' && checkpoint !== null && 'step' in checkpoint
    ? Number(checkpoint.step)
    : 0;
}

function codeOf(reason: unknown): string {
  return reason instanceof JobAbort ? reason.code : String(reason);
}
