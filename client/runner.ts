import { Client } from './client.ts';
import type { Context, Handler, Job } from './context.ts';
import { LeaseholdError } from './errors.ts';
import { describeResult, type JsonText, toDocument, toText } from './json.ts';
import type { UnparsedJob } from './rows.ts';
import { deadLetter, failure, type Running, release } from './running.ts';
import { type QueueSchemas, type StandardSchema, validate } from './standard-schema.ts';
import type { Transactions } from './transaction.ts';

/** Runs the handler of one queue, here or elsewhere; resolves to the result, rejects as it threw. */
export interface Runner {
  /** Whether jobs may be leased for it: its handler can be had. */
  readonly available: boolean;
  /** Rejects, with what to do, if its handler cannot be had. */
  load(): Promise<void>;
  run(running: Running, save: SaveCheckpoint): Promise<JsonText | undefined>;
  close(): Promise<void>;
}

/** Takes a checkpoint to be saved soon; or at once, and settles when it is known whether it was. */
export type SaveCheckpoint = (data: JsonText, flush: boolean) => Promise<void>;

/** A handler that is a function of this process. */
export class FunctionRunner implements Runner {
  readonly #handler: Handler;
  readonly #transactions: Transactions;
  readonly #schemas: QueueSchemas;

  readonly available = true;

  constructor(handler: Handler, transactions: Transactions, schemas: QueueSchemas = {}) {
    this.#handler = handler;
    this.#transactions = transactions;
    this.#schemas = schemas;
  }

  async load(): Promise<void> {}

  async run(running: Running, save: SaveCheckpoint): Promise<JsonText | undefined> {
    const { payload: payloadSchema, result: resultSchema } = this.#schemas;
    const parsed: unknown = JSON.parse(running.job.payload);
    // Most queues have no schema, and each await that need not be costs a short handler dearly.
    const payload = payloadSchema ? await validPayload(running, payloadSchema, parsed) : parsed;
    const result = await this.#handler(
      jobOf(running.job, payload),
      new HandlerContext(running, save, this.#transactions),
    );
    return resultSchema ? validResult(running, resultSchema, result) : storable(running, result);
  }

  async close(): Promise<void> {}
}

/** What a schema makes of a payload. One that it refuses gives the job up: another attempt would not help. */
export async function validPayload(
  running: Running,
  schema: StandardSchema,
  payload: unknown,
): Promise<unknown> {
  try {
    return await validate(schema, 'payload', payload);
  } catch (error) {
    if (error instanceof LeaseholdError) {
      running.declared ??= { kind: 'dead_letter', reason: toText(error.message) };
    }
    throw error;
  }
}

/**
 * What a schema makes of what a handler returned, to be stored. The work is done, and another attempt would
 * only do it again: what the schema refuses, or fails to judge, gives the job up.
 */
export async function validResult(
  running: Running,
  schema: StandardSchema,
  returned: unknown,
): Promise<JsonText | undefined> {
  // Another end was declared, or the transaction has the result: this one is not stored.
  if (running.declared !== undefined || running.completedIn) return undefined;
  let result: unknown;
  try {
    result = await validate(schema, 'result', returned);
  } catch (error) {
    running.declared ??= deadLetter(describeResult('invalid_result', error, returned));
    return undefined;
  }
  return storable(running, result, returned);
}

/** A result as it is stored. One that cannot be gives the job up. */
export function storable(
  running: Pick<Running, 'declared' | 'completedIn'>,
  result: unknown,
  returned: unknown = result,
): JsonText | undefined {
  if (running.declared !== undefined || running.completedIn) return undefined;
  try {
    return toResult(result);
  } catch (error) {
    running.declared ??= deadLetter(describeResult('result_not_storable', error, returned));
    return undefined;
  }
}

export function jobOf<P>(job: UnparsedJob, payload: P): Job<P> {
  const { jobId, queue, headers, priority, attempt, failures, losses, checkpoint, enqueuedAt } =
    job;
  return {
    id: jobId,
    queue,
    payload,
    headers,
    priority,
    attempt,
    failures,
    losses,
    checkpoint,
    enqueuedAt,
  };
}

export function toResult(result: unknown): JsonText | undefined {
  return result === undefined ? undefined : toDocument('result', result);
}

/** Who awaits a checkpoint learns that it was refused; nobody has to, or the process would end. */
export function observed(checkpoint: Context['checkpoint']): Context['checkpoint'] {
  return (...given) => {
    const taken = checkpoint(...given);
    taken.catch(() => undefined);
    return taken;
  };
}

/**
 * What a handler can do besides returning. Made for every job, so it makes its methods only for those who
 * ask, each to be called with or without the context before it.
 */
class HandlerContext implements Context {
  readonly #running: Running;
  readonly #save: SaveCheckpoint;
  readonly #transactions: Transactions;

  constructor(running: Running, save: SaveCheckpoint, transactions: Transactions) {
    this.#running = running;
    this.#save = save;
    this.#transactions = transactions;
  }

  get signal(): Context['signal'] {
    return this.#running.signal;
  }

  get fence(): Context['fence'] {
    return this.#running.job.fence;
  }

  get token(): Context['token'] {
    return this.#running.job.token;
  }

  get remainingMs(): Context['remainingMs'] {
    return () => this.#running.remainingMs();
  }

  get checkpoint(): Context['checkpoint'] {
    return observed(async (data, { flush = false } = {}) => {
      await this.#save(toDocument('checkpoint', data), flush);
    });
  }

  get fail(): Context['fail'] {
    return (error, options = {}) => {
      this.#running.declared ??= failure(error, options);
    };
  }

  get release(): Context['release'] {
    return (options = {}) => {
      this.#running.declared ??= release(options);
    };
  }

  get deadLetter(): Context['deadLetter'] {
    return (reason) => {
      this.#running.declared ??= deadLetter(reason);
    };
  }

  get transaction(): Context['transaction'] {
    return (work) => this.#transactions.run(this.#running, work);
  }

  get completeIn(): Context['completeIn'] {
    return async (transaction, result) => {
      const document = toResult(result);
      const running = this.#running;
      running.completedIn = true;
      await Client.unchecked(transaction).complete(running.job.jobId, running.job.token, document);
    };
  }
}
