import { existsSync } from 'node:fs';
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import { jittered, toShared } from './clock.ts';
import type { Job } from './context.ts';
import { LeaseholdError } from './errors.ts';
import type { JobRef } from './events.ts';
import { JsonText } from './json.ts';
import { jobOf, type Runner, type SaveCheckpoint, validPayload, validResult } from './runner.ts';
import { deadLetter, JobAbort, type Running, release } from './running.ts';
import type { QueueSchemas } from './standard-schema.ts';
import type {
  FromThread,
  Refusal,
  ThreadAnswer,
  ThreadLease,
  ThreadTask,
  ToThread,
} from './thread-messages.ts';
import type { TransactionOptions } from './transaction.ts';

/** Longest time a module may take to load when it is only loaded. */
const LOAD_MS = 60_000;

/** So often a job is given to a thread that ends before its handler is called. */
const MAX_TRIES = 3;

/** Time until a module that could not be had is looked for again: at first, and at most. */
const MISSING_MS = { first: 1_000, longest: 60_000 } as const;

/** How the worker threads of a scheduler are made. */
export interface ThreadOptions {
  /** Most threads. @default the scheduler's concurrency */
  readonly max?: number | undefined;
  /** Arguments for Node. @default those of this process */
  readonly execArgv?: readonly string[] | undefined;
  /** Memory limits of each thread; one that is over them ends and its job fails. */
  readonly resourceLimits?: { readonly maxOldGenerationSizeMb?: number | undefined } | undefined;
}

/** The worker threads of a scheduler, shared by its queues; made when the first one is needed. */
export class Threads {
  readonly #options: ThreadOptions & { readonly max: number };
  readonly #transactions: TransactionOptions | undefined;
  #pool: Promise<Pool> | undefined;
  /** Those whose threads still run, the present one included. */
  readonly #pools = new Set<Pool>();
  #busy = 0;
  readonly #waiting = new Set<() => void>();

  constructor(options: ThreadOptions & { readonly max: number }, transactions: TransactionOptions) {
    this.#options = options;
    this.#transactions = cloneable(transactions);
  }

  /** Rejects with the reason if the module cannot be had. */
  async load(module: string): Promise<void> {
    const loading = new AbortController();
    const late = new Error(`it did not load within ${LOAD_MS} ms`);
    const timer = setTimeout(() => loading.abort(late), LOAD_MS);
    try {
      const task = { module, run: undefined };
      const missing = await this.run(task, loading.signal, () => undefined);
      if (missing !== undefined) throw new Error(missing);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Has a thread do a task; resolves when it has. `onThread` is given what says that a thread has begun with it. */
  async run(
    task: ThreadTask,
    signal: AbortSignal,
    onThread: (began: () => void) => void,
  ): Promise<string | undefined> {
    await this.#turn(signal);
    try {
      const pool = await this.#ready();
      const waiting = new AbortController();
      const end = (): void => waiting.abort(signal.reason);
      if (signal.aborted) end();
      signal.addEventListener('abort', end);
      pool.waiting.add(waiting);
      onThread(() => pool.waiting.delete(waiting));
      pool.busy++;
      try {
        return await pool.threads.run(task, {
          signal: waiting.signal,
          transferList: task.run ? [task.run.port] : [],
        });
      } catch (error) {
        throw waiting.signal.aborted ? waiting.signal.reason : error;
      } finally {
        signal.removeEventListener('abort', end);
        pool.waiting.delete(waiting);
        pool.busy--;
        this.#endIfBroken(pool);
      }
    } finally {
      this.#busy--;
      for (const next of this.#waiting) {
        next();
        break;
      }
    }
  }

  async close(): Promise<void> {
    await this.#pool?.catch(() => undefined);
    await Promise.all([...this.#pools].map(({ threads }) => threads.destroy()));
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

  #ready(): Promise<Pool> {
    this.#pool ??= this.#make().catch((error: unknown) => {
      this.#pool = undefined;
      throw error;
    });
    return this.#pool;
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
    const threads = new Piscina<ThreadTask, string | undefined>({
      filename: threadFile(),
      minThreads: 0,
      maxThreads: max,
      idleTimeout: 10_000,
      workerData: this.#transactions,
      ...(execArgv ? { execArgv: [...execArgv] } : {}),
      ...(resourceLimits ? { resourceLimits } : {}),
    });
    const pool: Pool = { threads, waiting: new Set(), busy: 0, isBroken: false };
    // A thread that failed without a task could not even start. Piscina makes no other for those who wait
    // for it: they are told, and a new pool is tried, while the threads that run go on.
    threads.on('error', (cause: unknown) => {
      const error = unavailable('threads cannot start', cause);
      pool.isBroken = true;
      this.#pool = undefined;
      for (const waiting of pool.waiting) waiting.abort(error);
      this.#endIfBroken(pool);
    });
    // Nor does it for those whose thread was to come and has ended without a word.
    threads.on('workerDestroy', () => {
      setImmediate(() => {
        if (threads.threads.length >= pool.busy) return;
        const error = new Error('the thread has ended before it began');
        for (const waiting of pool.waiting) waiting.abort(error);
      });
    });
    this.#pools.add(pool);
    return pool;
  }

  #endIfBroken(pool: Pool): void {
    if (!pool.isBroken || pool.busy > 0) return;
    this.#pools.delete(pool);
    void pool.threads.destroy();
  }
}

/** The entry of a thread: a file beside this module, or beside the CommonJS file that this is part of. */
function threadFile(): string {
  const here: string | undefined = import.meta.url;
  const name = here?.endsWith('.ts') ? './thread.ts' : './thread.js';
  const file = here === undefined ? undefined : new URL(name, here);
  if (file === undefined || !existsSync(file)) {
    throw new LeaseholdError(
      'handler_unavailable',
      'threads cannot start: leasehold is in a bundle',
      {
        hint: 'Leave the package out of the bundle.',
      },
    );
  }
  return file.href;
}

interface Pool {
  readonly threads: Piscina<ThreadTask, string | undefined>;
  /** Ends the wait of each task that no thread has begun with. */
  readonly waiting: Set<AbortController>;
  busy: number;
  isBroken: boolean;
}

export interface ThreadRunnerOptions {
  readonly module: URL;
  readonly threads: Threads;
  readonly schemas: QueueSchemas;
  /** Told once that the module cannot be had, until a handler of it has begun again. */
  readonly onMissing: (error: LeaseholdError) => void;
  /** Jobs may be leased again. `wasMissing`: a handler has begun, after it was said to be missing. */
  readonly onFound: (wasMissing: boolean) => void;
  /** What an earlier job left behind in its thread threw. */
  readonly onStrayed: (job: JobRef, error: string) => void;
}

/**
 * A handler that is the default export of a module and runs in a worker thread. That the module cannot be
 * had, since a deploy removed it, say, is no failure of a job: no more are leased until it can.
 */
export class ThreadRunner implements Runner {
  readonly #options: ThreadRunnerOptions;
  readonly #module: string;
  #available = true;
  /** Times in a row that the module could not be had. */
  #misses = 0;
  #told = false;
  /** Ends the wait of each job whose handler was not called yet. */
  readonly #starting = new Set<AbortController>();
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: ThreadRunnerOptions) {
    this.#options = options;
    this.#module = options.module.href;
  }

  get available(): boolean {
    return this.#available;
  }

  async load(): Promise<void> {
    try {
      await this.#options.threads.load(this.#module);
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  async run(running: Running, save: SaveCheckpoint): Promise<JsonText | undefined> {
    if (!this.#available) throw this.#isMissing(running, 'it could not be had a moment ago');
    const payload = await this.#payload(running);
    const killing = new AbortController();
    running.kill = () => killing.abort();
    try {
      for (let tries = 1; ; tries++) {
        const call = new Call(running, save, this.#options.onStrayed);
        const starting = new AbortController();
        const kill = (): void => starting.abort();
        killing.signal.addEventListener('abort', kill);
        this.#starting.add(starting);
        const task = { module: this.#module, run: { ...call.run, ...payload } };
        let failed: unknown;
        try {
          await this.#options.threads.run(task, starting.signal, (began) => {
            call.onBegan = () => {
              began();
              this.#starting.delete(starting);
            };
          });
        } catch (error) {
          failed = error;
        } finally {
          this.#starting.delete(starting);
          killing.signal.removeEventListener('abort', kill);
        }
        const answer = call.end();
        if (call.began !== undefined) this.#hasBegun();
        if (answer !== undefined) return await this.#taken(running, answer);
        if (killing.signal.aborted) throw failed;
        if (call.began !== undefined) throw this.#ended(running, call.began.first, failed);
        if (isUncloneable(failed)) {
          running.declared ??= deadLetter(`the payload cannot be passed to a thread: ${failed}`);
          throw failed;
        }
        // One try is enough where threads cannot start, or another job has tried.
        const isSure = tries === MAX_TRIES || !this.#available;
        if (isSure || failed instanceof LeaseholdError) {
          throw this.#isMissing(running, failed);
        }
      }
    } finally {
      running.kill = undefined;
      running.onLease = undefined;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    await this.#options.threads.close();
  }

  /** The payload stays text on its way, unless a schema has to see it. */
  async #payload(running: Running): Promise<{ job: Job; isParsed: boolean }> {
    const { job } = running;
    const schema = this.#options.schemas.payload;
    if (schema === undefined) return { job: jobOf<unknown>(job, job.payload), isParsed: false };
    const payload = await validPayload(running, schema, JSON.parse(job.payload));
    return { job: jobOf(job, payload), isParsed: true };
  }

  /** What the thread answered counts, whatever became of the thread since. */
  async #taken(running: Running, answer: ThreadAnswer): Promise<JsonText | undefined> {
    running.declared ??= answer.declared;
    if ('missing' in answer) throw this.#isMissing(running, answer.missing);
    if ('thrown' in answer) {
      const thrown = new ThreadFailure(answer.thrown);
      throw answer.unclear === true ? this.#ended(running, false, thrown) : thrown;
    }
    if ('interrupted' in answer) {
      running.declared ??= release({});
      throw new ThreadFailure(answer.interrupted);
    }
    const { result } = answer;
    const schema = this.#options.schemas.result;
    if (schema === undefined) return result === undefined ? undefined : new JsonText(result);
    return validResult(running, schema, result === undefined ? undefined : JSON.parse(result));
  }

  /**
   * The thread has ended under the job, and nobody knows whose doing it was. In a thread that had run others
   * before, a job is handed back once; it is charged if it was handed back before, or ran there alone.
   */
  #ended(running: Running, ranAlone: boolean, error: unknown): unknown {
    if (!ranAlone && running.job.releases === 0) running.declared ??= release({});
    return error;
  }

  #hasBegun(): void {
    this.#misses = 0;
    if (!this.#told) return;
    this.#told = false;
    this.#options.onFound(true);
  }

  /** The job is handed back, and others are left to those that have the module until it can be had. */
  #isMissing(running: Running, cause: unknown): LeaseholdError {
    const error = this.#unavailable(cause);
    running.declared ??= release({});
    if (this.#closed || !this.#available) return error;
    this.#available = false;
    for (const starting of this.#starting) starting.abort(error);
    if (!this.#told) this.#options.onMissing(error);
    this.#told = true;
    this.#lookLater();
    return error;
  }

  #lookLater(): void {
    if (this.#closed) return;
    const ms = Math.min(MISSING_MS.first * 2 ** this.#misses++, MISSING_MS.longest);
    this.#retry = setTimeout(async () => {
      try {
        await this.load();
      } catch {
        this.#lookLater();
        return;
      }
      this.#available = true;
      if (!this.#closed) this.#options.onFound(false);
    }, jittered(ms));
  }

  #unavailable(cause: unknown): LeaseholdError {
    return unavailable(`the handler in ${this.#module} cannot be had`, cause);
  }
}

function unavailable(what: string, cause: unknown): LeaseholdError {
  if (cause instanceof LeaseholdError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new LeaseholdError('handler_unavailable', `${what}: ${why}`, {
    cause,
    hint: 'The module must be there, load in a worker thread, and export a function as its default.',
  });
}

/** One job in a thread: what is said to the thread, and what it says. */
class Call {
  /** What the thread is given. */
  readonly run: { readonly lease: ThreadLease; readonly port: MessagePort };
  readonly #port: MessagePort;
  readonly #running: Running;
  readonly #save: SaveCheckpoint;
  readonly #onStrayed: (job: JobRef, error: string) => void;
  readonly #onAbort = (): void => {
    const reason = this.#running.abortReason;
    if (reason) this.#send({ type: 'abort', reason });
  };
  #answer: ThreadAnswer | undefined;

  /** Set when the handler is called. */
  began: { readonly first: boolean } | undefined;
  onBegan: (() => void) | undefined;

  constructor(
    running: Running,
    save: SaveCheckpoint,
    onStrayed: (job: JobRef, error: string) => void,
  ) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#running = running;
    this.#save = save;
    this.#onStrayed = onStrayed;
    this.run = { lease: leaseOf(running), port: port2 };
    port1.on('message', (message: FromThread) => this.#receive(message));
    running.signal.addEventListener('abort', this.#onAbort);
    running.hear = () => this.#hear();
    running.onLease = () => this.#send({ type: 'lease', lease: leaseOf(running) });
    if (running.signal.aborted) this.#onAbort();
  }

  /** Reads what the thread has sent to the last; how it ended is not to be lost with the thread. */
  end(): ThreadAnswer | undefined {
    this.#hear();
    this.#running.hear = undefined;
    this.#running.signal.removeEventListener('abort', this.#onAbort);
    this.#port.removeAllListeners('message');
    this.#port.close();
    return this.#answer;
  }

  #hear(): void {
    for (;;) {
      const received: { message: FromThread } | undefined = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      this.#receive(received.message);
    }
  }

  #receive(message: FromThread): void {
    switch (message.type) {
      case 'began':
        this.began = message;
        this.onBegan?.();
        break;
      case 'checkpoint': {
        const { checkpoint, text, flush } = message;
        this.#save(new JsonText(text), flush).then(
          () => flush && this.#send({ type: 'saved', checkpoint }),
          (error: unknown) => this.#send({ type: 'refused', checkpoint, reason: refusalOf(error) }),
        );
        break;
      }
      case 'aborted':
        this.#running.stopped(message.reason);
        break;
      case 'completing':
        this.#running.completedIn = message.completedIn;
        break;
      case 'completed':
        this.#running.completed(message.settlement);
        break;
      case 'strayed':
        this.#onStrayed(message.job, message.error);
        break;
      case 'answer':
        this.#answer = message.answer;
        break;
    }
  }

  #send(message: ToThread): void {
    this.#port.postMessage(message);
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

/** What of an error can be sent to a thread. */
function refusalOf(error: unknown): Refusal {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const kind = error instanceof LeaseholdError ? 'leasehold' : 'other';
  return {
    kind: error instanceof JobAbort ? 'abort' : kind,
    code: String(code ?? ''),
    message: String(message ?? error),
  };
}

function isUncloneable(error: unknown): boolean {
  return error instanceof Error && error.name === 'DataCloneError';
}

/** What a handler threw in its thread, described there. */
class ThreadFailure extends Error {
  constructor(description: string) {
    super(description);
    this.stack = description;
  }
}

function leaseOf(running: Running): ThreadLease {
  const { lease, runtime } = running.deadlines;
  return {
    token: running.job.token,
    fence: running.job.fence,
    until: running.settled ? undefined : toShared(lease),
    runsUntil: runtime && toShared(runtime),
  };
}
