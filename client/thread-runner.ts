import { extname } from 'node:path';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import { LeaseholdError } from './errors.ts';
import { JsonText, toJson } from './json.ts';
import { jobOf, type Runner, type SaveCheckpoint, validPayload, validResult } from './runner.ts';
import type { Running } from './running.ts';
import type { QueueSchemas } from './standard-schema.ts';
import type {
  FromThread,
  ThreadAnswer,
  ThreadLease,
  ThreadTask,
  ToThread,
} from './thread-messages.ts';
import type { TransactionOptions } from './transaction.ts';

/** How the worker threads of a scheduler are made. */
export interface ThreadOptions {
  /** Most threads. @default the scheduler's concurrency */
  readonly max?: number;
  /** Arguments for Node. @default those of this process */
  readonly execArgv?: readonly string[];
  /** Memory limits of each thread; one that is over them ends and its job fails. */
  readonly resourceLimits?: { readonly maxOldGenerationSizeMb?: number };
}

/** The worker threads of a scheduler, shared by its queues; made when the first job needs one. */
export class Threads {
  readonly #options: ThreadOptions & { readonly max: number };
  readonly #transactions: TransactionOptions | undefined;
  #pool: Promise<Pool> | undefined;
  #busy = 0;
  readonly #waiting = new Set<() => void>();

  constructor(options: ThreadOptions & { readonly max: number }, transactions: TransactionOptions) {
    this.#options = options;
    this.#transactions = cloneable(transactions);
  }

  async run(task: ThreadTask, signal: AbortSignal): Promise<ThreadAnswer> {
    await this.#turn(signal);
    this.#pool ??= this.#make();
    try {
      const pool = await this.#pool;
      return await pool.threads
        .run(task, { signal, transferList: [task.port] })
        .catch((error: unknown) => {
          throw pool.broken ?? error;
        });
    } finally {
      this.#busy--;
      for (const next of this.#waiting) {
        next();
        break;
      }
    }
  }

  async close(): Promise<void> {
    const pool = await this.#pool?.catch(() => undefined);
    await pool?.threads.destroy();
  }

  /** Waits until a thread may run. Piscina makes none for what waits in it while one ends. */
  async #turn(signal: AbortSignal): Promise<void> {
    while (this.#busy >= this.#options.max) {
      await new Promise<void>((resolve) => {
        const next = (): void => {
          this.#waiting.delete(next);
          signal.removeEventListener('abort', next);
          resolve();
        };
        this.#waiting.add(next);
        signal.addEventListener('abort', next);
      });
      signal.throwIfAborted();
    }
    this.#busy++;
  }

  async #make(): Promise<Pool> {
    const { Piscina } = await import('piscina').catch((cause: unknown) => {
      throw new LeaseholdError(
        'peer_missing',
        'a handler that is a module runs in a worker thread, which needs the package piscina',
        { cause, hint: 'Run "npm install piscina".' },
      );
    });
    const { max, execArgv, resourceLimits } = this.#options;
    const threads = new Piscina<ThreadTask, ThreadAnswer>({
      filename: new URL(`./thread${extname(import.meta.url)}`, import.meta.url).href,
      minThreads: 0,
      maxThreads: max,
      idleTimeout: 10_000,
      workerData: this.#transactions,
      ...(execArgv ? { execArgv: [...execArgv] } : {}),
      ...(resourceLimits ? { resourceLimits } : {}),
    });
    const pool: Pool = { threads, broken: undefined };
    // A thread that failed without a task could not even start, nor would another: those who wait
    // for it are told, and the next job begins anew.
    threads.on('error', (error: unknown) => {
      pool.broken ??= error;
      this.#pool = undefined;
      void threads.destroy();
    });
    return pool;
  }
}

interface Pool {
  readonly threads: Piscina<ThreadTask, ThreadAnswer>;
  /** Why its threads cannot start. */
  broken: unknown;
}

/** A handler that is the default export of a module and runs in a worker thread. */
export class ThreadRunner implements Runner {
  readonly #module: string;
  readonly #threads: Threads;
  readonly #schemas: QueueSchemas;

  constructor(module: URL, threads: Threads, schemas: QueueSchemas = {}) {
    this.#module = module.href;
    this.#threads = threads;
    this.#schemas = schemas;
  }

  async run(running: Running, save: SaveCheckpoint): Promise<JsonText | undefined> {
    const payload = await this.#payload(running);
    const { port1: port, port2: threadPort } = new MessageChannel();
    const killing = new AbortController();
    const send = (message: ToThread): void => port.postMessage(message);
    const onAbort = (): void => {
      if (running.abortReason) send({ type: 'abort', reason: running.abortReason });
    };

    const receive = (message: FromThread): void => {
      switch (message.type) {
        case 'checkpoint': {
          const { checkpoint, text, flush } = message;
          void save(new JsonText(text), flush).then(() => send({ type: 'saved', checkpoint }));
          break;
        }
        case 'completing':
          running.completedIn = message.completedIn;
          break;
        case 'completed':
          running.completed(message.settlement);
          break;
      }
    };
    port.on('message', receive);
    running.hear = () => {
      for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port)) {
        receive(next.message);
      }
    };
    running.signal.addEventListener('abort', onAbort);
    running.kill = () => killing.abort();
    running.onLease = () => send({ type: 'lease', lease: leaseOf(running) });
    if (running.signal.aborted) onAbort();

    try {
      const answer = await this.#threads.run(
        {
          module: this.#module,
          job: jobOf(running.job, payload),
          lease: leaseOf(running),
          port: threadPort,
        },
        killing.signal,
      );
      // What the thread said while the handler ran comes before its answer.
      running.hear();
      port.removeAllListeners('message');
      running.declared ??= answer.declared;
      if (answer.unsaved !== undefined) void save(new JsonText(answer.unsaved), false);
      if ('thrown' in answer) throw new ThreadFailure(answer.thrown);
      return await this.#result(running, answer.result);
    } finally {
      running.hear?.();
      running.hear = undefined;
      running.signal.removeEventListener('abort', onAbort);
      running.kill = undefined;
      running.onLease = undefined;
      port.close();
    }
  }

  async close(): Promise<void> {
    await this.#threads.close();
  }

  /** The payload stays text on its way, unless a schema has to see it. */
  async #payload(running: Running): Promise<string> {
    const text = running.job.payload;
    if (this.#schemas.payload === undefined) return text;
    return toJson(await validPayload(running, this.#schemas.payload, JSON.parse(text)));
  }

  async #result(running: Running, text: string | undefined): Promise<JsonText | undefined> {
    if (this.#schemas.result === undefined) {
      return text === undefined ? undefined : new JsonText(text);
    }
    const value: unknown = text === undefined ? undefined : JSON.parse(text);
    return validResult(running, this.#schemas.result, value);
  }
}

/** What can be sent to a thread; undefined: something of it, a function that gives passwords say, cannot. */
function cloneable<T>(value: T): T | undefined {
  try {
    return structuredClone(value);
  } catch {
    return undefined;
  }
}

/** What a handler threw in its thread, described there. */
class ThreadFailure extends Error {
  constructor(description: string) {
    super(description);
    this.stack = description;
  }
}

function leaseOf(running: Running): ThreadLease {
  return {
    token: running.job.token,
    fence: running.job.fence,
    remainingMs: running.remainingMs(),
  };
}
