import { Client } from './client.ts';
import type { Context, Handler, Job } from './context.ts';
import { LeaseholdError } from './errors.ts';
import { type JsonText, toDocument, toText } from './json.ts';
import type { UnparsedJob } from './rows.ts';
import { failure, type Running, release } from './running.ts';
import { type QueueSchemas, type StandardSchema, validate } from './standard-schema.ts';

/** Runs the handler of one queue, here or elsewhere; resolves to the result, rejects as it threw. */
export interface Runner {
  run(running: Running, save: SaveCheckpoint): Promise<JsonText | undefined>;
  close(): Promise<void>;
}

/** Takes a checkpoint to be saved, soon or at once; resolves when it is. */
export type SaveCheckpoint = (data: JsonText, flush: boolean) => Promise<void>;

/** A handler that is a function of this process. */
export class FunctionRunner implements Runner {
  readonly #handler: Handler;
  readonly #schemas: QueueSchemas;

  constructor(handler: Handler, schemas: QueueSchemas = {}) {
    this.#handler = handler;
    this.#schemas = schemas;
  }

  async run(running: Running, save: SaveCheckpoint): Promise<JsonText | undefined> {
    const payload = await accepted(
      running,
      this.#schemas.payload,
      'payload',
      JSON.parse(running.job.payload),
    );
    const result = await this.#handler(jobOf(running.job, payload), contextOf(running, save));
    return toResult(await accepted(running, this.#schemas.result, 'result', result));
  }

  async close(): Promise<void> {}
}

/** What a schema makes of a value. One that it refuses gives the job up: another attempt would not help. */
export async function accepted<T>(
  running: Running,
  schema: StandardSchema<T> | undefined,
  what: string,
  value: unknown,
): Promise<T> {
  try {
    return await validate(schema, what, value);
  } catch (error) {
    if (error instanceof LeaseholdError) {
      running.declared ??= { kind: 'dead_letter', reason: toText(error.message) };
    }
    throw error;
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

function contextOf(running: Running, save: SaveCheckpoint): Context {
  return {
    get signal() {
      return running.signal;
    },
    get fence() {
      return running.job.fence;
    },
    get token() {
      return running.job.token;
    },
    remainingMs: () => running.remainingMs(),
    checkpoint: async (data, { flush = false } = {}) => {
      const saved = save(toDocument('checkpoint', data), flush);
      if (flush) await saved;
    },
    fail: (error, options = {}) => {
      running.declared ??= failure(error, options);
    },
    release: (options = {}) => {
      running.declared ??= release(options);
    },
    deadLetter: (reason) => {
      running.declared ??= {
        kind: 'dead_letter',
        reason: reason === undefined ? undefined : toText(reason),
      };
    },
    completeIn: async (transaction, result) => {
      const document = toResult(result);
      running.completedIn = true;
      await Client.unchecked(transaction).complete(running.job.jobId, running.job.token, document);
    },
  };
}
