/* The handler of the thread tests: its payload says what it does. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, threadId } from 'node:worker_threads';
import type { Context, Job } from '../../../client/index.ts';
import { JobAbort } from '../../../client/running.ts';

export type Act =
  | { readonly do: 'describe' }
  | { readonly do: 'nothing' }
  | { readonly do: 'return'; readonly value: unknown }
  | { readonly do: 'throw'; readonly what: 'error' | 'undefined' | 'circular' | 'hostile' | 'huge' }
  | { readonly do: 'declare'; readonly what: 'fail' | 'release' | 'dead-letter' }
  | { readonly do: 'exit'; readonly code: number }
  | { readonly do: 'exhaust-memory' }
  | { readonly do: 'checkpoint-and-wait'; readonly file: string }
  | { readonly do: 'offer-checkpoints'; readonly count: number }
  | { readonly do: 'until-abort' }
  /** Blocks its thread for ever, or until the file exists. */
  | { readonly do: 'block'; readonly file?: string }
  | { readonly do: 'complete-in'; readonly url: string; readonly commit: boolean };

export default async function act(job: Job<Act>, context: Context): Promise<unknown> {
  const { payload } = job;
  switch (payload.do) {
    case 'describe': {
      const { signal, fence, token, remainingMs } = context;
      return {
        job: { ...job, enqueuedAt: job.enqueuedAt.toISOString() },
        aborted: signal.aborted,
        fence: String(fence),
        token,
        remainingMs: remainingMs(),
        isMainThread,
        threadId,
      };
    }
    case 'nothing':
      return undefined;
    case 'return':
      return payload.value;
    case 'throw':
      throw thrown(payload.what);
    case 'declare':
      if (payload.what === 'fail') context.fail(new Error('as declared'), { retryInMs: 60_000 });
      else if (payload.what === 'release') context.release({ delayMs: 60_000 });
      else context.deadLetter('as declared');
      return 'returned after it was declared';
    case 'exit':
      return process.exit(payload.code);
    case 'exhaust-memory': {
      const hoard: string[] = [];
      for (;;) hoard.push('x'.repeat(1000) + hoard.length);
    }
    case 'checkpoint-and-wait':
      await context.checkpoint(
        { attempt: job.attempt, before: job.checkpoint ?? null },
        { flush: true },
      );
      while (!existsSync(payload.file)) await sleep(10);
      return { resumedFrom: job.checkpoint ?? null };
    case 'offer-checkpoints':
      for (let n = 1; n <= payload.count; n++) void context.checkpoint({ n });
      throw new Error('after the last checkpoint');
    case 'until-abort':
      await sleep(3_600_000, undefined, { signal: context.signal }).catch(() => undefined);
      throw new Error(
        context.signal.reason instanceof JobAbort ? context.signal.reason.code : 'no JobAbort',
      );
    case 'block':
      while (payload.file === undefined || !existsSync(payload.file));
      return 'done';
    case 'complete-in': {
      const { default: pg } = await import('pg');
      const client = new pg.Client({ connectionString: payload.url });
      await client.connect();
      await client.query('begin');
      await client.query('insert into effect values ($1, $2)', [job.id, job.attempt]);
      await context.completeIn(client, { in: 'the transaction' });
      await client.query(payload.commit ? 'commit' : 'rollback');
      await client.end();
      if (!payload.commit) throw new Error('rolled back');
      return { returned: 'second' };
    }
  }
}

function thrown(what: 'error' | 'undefined' | 'circular' | 'hostile' | 'huge'): unknown {
  switch (what) {
    case 'error':
      return new Error('from the thread');
    case 'undefined':
      return undefined;
    case 'circular': {
      const ring: { self?: unknown } = {};
      ring.self = ring;
      return ring;
    }
    case 'hostile':
      return new Proxy(
        {},
        {
          getPrototypeOf() {
            throw new Error('trap');
          },
        },
      );
    case 'huge':
      return new Error('x'.repeat(50_000_000));
  }
}
