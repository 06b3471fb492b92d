/*
 * What the compiler must refuse. Nothing here runs: tsc fails where an expected error does not
 * come, or one comes that is not expected.
 */
import type { Pool } from 'pg';
import { Client, type Job, Scheduler, type StandardSchema } from '../client/index.ts';

interface Queues {
  readonly [name: string]: { payload: unknown; result?: unknown; checkpoint?: unknown };
}

type Typed = {
  render: {
    payload: { readonly file: string; readonly pages: number };
    result: { readonly bytes: number };
    checkpoint: { readonly page: number };
  };
  mail: { payload: { readonly to: string } };
};

// What an application says of its queues is accepted as such.
export const accepted: Queues = {} as Typed;

export async function clients(pool: Pool): Promise<void> {
  const client = new Client<Typed>(pool);

  await client.enqueue('render', { file: 'a.pdf', pages: 3 }, { priority: 1, delayMs: 10 });
  await client.enqueue('mail', { to: 'a@example.com' });
  // @ts-expect-error there is no such queue
  await client.enqueue('rendr', { file: 'a.pdf', pages: 3 });
  // @ts-expect-error the payload is another queue's
  await client.enqueue('mail', { file: 'a.pdf', pages: 3 });
  // @ts-expect-error a member is missing
  await client.enqueue('render', { file: 'a.pdf' });
  // @ts-expect-error a member is of another type
  await client.enqueue('render', { file: 'a.pdf', pages: '3' });
  // @ts-expect-error there is no such option
  await client.enqueue('mail', { to: 'a@example.com' }, { prio: 1 });

  await client.enqueueMany('mail', [{ payload: { to: 'a@example.com' }, dedupKey: 'a' }]);
  // @ts-expect-error one of the payloads is wrong
  await client.enqueueMany('mail', [{ payload: { to: 'a@example.com' } }, { payload: { to: 1 } }]);

  // @ts-expect-error there is no such queue
  await client.createQueue('rendr');
  // @ts-expect-error there is no such queue
  await client.pauseQueue('rendr');
  // @ts-expect-error there is no such queue
  await client.peek('rendr');
  // @ts-expect-error either ids or a queue
  await client.redrive({});

  const [job] = await client.leaseJobs(['render'], { workerId: '' });
  const pages: number | undefined = job?.payload.pages;
  // @ts-expect-error the payload has no such member
  job?.payload.to;
  // @ts-expect-error one of the queues does not exist
  await client.leaseJobs(['render', 'rendr'], { workerId: '' });

  const info = await client.job<'render'>('1');
  const bytes: number | undefined = info.result?.bytes;
  // @ts-expect-error an id is text, as bigint does not fit a number
  await client.job(1);

  // @ts-expect-error a transaction's client is typed like the one it was made from
  await client.using(pool).enqueue('mail', { to: 1 });
  void [pages, bytes];
}

export function schedulers(): void {
  new Scheduler<Typed>({
    connection: '',
    handlers: {
      render: async (job, context) => {
        const from: number = job.checkpoint?.page ?? 0;
        await context.checkpoint({ page: from + 1 });
        // @ts-expect-error the checkpoint is of another type
        await context.checkpoint({ pages: 1 });
        // @ts-expect-error the payload has no such member
        job.payload.to;
        return { bytes: job.payload.pages };
      },
      mail: ({ payload: { to } }) => to,
    },
  });

  new Scheduler<Typed>({
    connection: '',
    handlers: {
      // @ts-expect-error the result is of another type
      render: async () => ({ byte: 1 }),
      // @ts-expect-error the payload is another queue's
      mail: (_: Job<{ file: string }>) => undefined,
    },
  });

  new Scheduler<Typed>({
    connection: '',
    handlers: {
      // @ts-expect-error there is no such queue
      rendr: () => undefined,
    },
  });

  // A scheduler may serve some of the queues, in threads or here.
  new Scheduler<Typed>({
    connection: '',
    handlers: { mail: { module: new URL('file:///mail.js') } },
  });
  // @ts-expect-error a module is named by a URL, which says what it is relative to
  new Scheduler<Typed>({ connection: '', handlers: { mail: { module: './mail.js' } } });
  // @ts-expect-error there must be a connection
  new Scheduler<Typed>({ handlers: {} });
}

/** What a schema transforms has two sides: what is enqueued and stored, what the handler sees and returns. */
type Transforming = {
  remind: {
    payload: { readonly at: string };
    parsed: { readonly at: Date };
    returned: Date;
    result: number;
  };
};

export async function transforming(pool: Pool): Promise<void> {
  const payload = {} as StandardSchema<{ readonly at: string }, { readonly at: Date }>;
  const result = {} as StandardSchema<Date, number>;
  const client = new Client<Transforming>(pool, { schemas: { remind: { payload } } });
  await client.enqueue('remind', { at: '2030-01-01' });
  // @ts-expect-error what the handler sees is not what is enqueued
  await client.enqueue('remind', { at: new Date() });
  const stored: number | undefined = (await client.job<'remind'>('1')).result;
  void stored;

  new Scheduler<Transforming>({
    connection: '',
    handlers: {
      remind: { payload, result, handler: ({ payload: { at } }) => new Date(at.getTime()) },
    },
  });
  new Scheduler<Transforming>({
    connection: '',
    // @ts-expect-error what is stored is not what the handler returns
    handlers: { remind: { payload, result, handler: () => 7 } },
  });
  new Scheduler<Transforming>({
    connection: '',
    // @ts-expect-error the schema is of another queue
    handlers: { remind: { payload: result, handler: () => new Date() } },
  });
}

/** An interface will do as well as a type. */
interface Interface {
  render: { payload: { readonly file: string } };
}

export async function interfaces(pool: Pool): Promise<void> {
  await new Client<Interface>(pool).enqueue('render', { file: 'a.pdf' });
  // @ts-expect-error the payload is of another type
  await new Client<Interface>(pool).enqueue('render', { file: 1 });
  new Scheduler<Interface>({ connection: '', handlers: { render: ({ payload }) => payload.file } });
  // @ts-expect-error a queue has a payload
  new Client<{ render: { result: string } }>(pool);
}

/** What is undefined is as what is not there. */
export async function undefinedOptions(pool: Pool): Promise<void> {
  const client = new Client<Typed>(pool, { schemas: undefined });
  await client.createQueue('mail', { leaseMs: undefined });
  await client.enqueue('mail', { to: 'a' }, { priority: undefined, runAt: undefined });
  await client.enqueueMany('mail', [{ payload: { to: 'a' }, dedupKey: undefined }]);
  await client.leaseJobs(['mail'], { workerId: '', limit: undefined, requestId: undefined });
  await client.peek('mail', { state: undefined, limit: undefined, after: undefined });
  await client.completeMany([{ jobId: '1', token: '', result: undefined }]);
  await client.prune({ limit: undefined });
  const scheduler = new Scheduler<Typed>({
    connection: '',
    concurrency: undefined,
    listenConnection: undefined,
    threads: { max: undefined, execArgv: undefined, resourceLimits: undefined },
    onEvent: undefined,
    handlers: {
      render: undefined,
      mail: {
        payload: undefined,
        handler: async (_, context) => {
          await context.checkpoint(1, { flush: undefined });
          context.release({ delayMs: undefined });
          context.fail('no', { retryInMs: undefined, retryable: undefined });
        },
      },
    },
  });
  await scheduler.stop({ graceMs: undefined });
}
