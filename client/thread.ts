/* The entry of a worker thread: loads the module of a handler and runs it for one job at a time. */
import { type MessagePort, workerData } from 'node:worker_threads';
import { Client } from './client.ts';
import type { Context, Handler } from './context.ts';
import { LeaseholdError } from './errors.ts';
import { describeError, type JsonText, toDocument } from './json.ts';
import { observed, storable, toResult } from './runner.ts';
import { deadLetter, failure, JobAbort, type Outcome, release } from './running.ts';
import type {
  FromThread,
  ThreadAnswer,
  ThreadLease,
  ThreadTask,
  ToThread,
} from './thread-messages.ts';
import type { Holder, TransactionOptions, Transactions } from './transaction.ts';
import type { Lease, Settlement } from './types.ts';

export default async function runInThread(task: ThreadTask): Promise<ThreadAnswer> {
  const running = new ThreadRunning(task);
  try {
    const loaded: { default?: unknown } = await import(task.module);
    if (typeof loaded.default !== 'function') {
      throw new TypeError(`${task.module} has no function as its default export`);
    }
    const payload: unknown = JSON.parse(task.job.payload);
    const returned: unknown = await (loaded.default as Handler)(
      { ...task.job, payload },
      new ThreadContext(running),
    );
    const result = storable(running, returned)?.text;
    return { ...running.said(), result };
  } catch (thrown) {
    return { ...running.said(), thrown: describeError(thrown) };
  } finally {
    running.close();
  }
}

/** Of all jobs of this thread; made when the first asks for it. */
let transactions: Promise<Transactions> | undefined;

async function openTransactions(): Promise<Transactions> {
  const options = workerData as TransactionOptions | null;
  if (!options) {
    throw new LeaseholdError(
      'invalid_argument',
      'the connection cannot be sent to a worker thread, since it holds a function',
      { hint: 'Connect in the thread, and call completeIn() on that connection.' },
    );
  }
  const { Transactions } = await import('./transaction.ts');
  return new Transactions(options);
}

/** One invocation in this thread; everything of it that concerns the lease goes by messages. */
class ThreadRunning implements Holder {
  readonly #jobId: string;
  readonly #port: MessagePort;
  readonly #abort = new AbortController();
  readonly #waiting = new Map<number, () => void>();
  #lease: ThreadLease;
  #leasedAt = performance.now();
  #checkpoints = 0;
  #lastCheckpoint: string | undefined;
  #completedIn = false;
  /** What the handler said of its end before it came to it. */
  declared: Outcome | undefined;
  endTransaction: (() => void) | undefined;

  constructor({ job, lease, port }: ThreadTask) {
    this.#jobId = job.id;
    this.#lease = lease;
    this.#port = port;
    port.on('message', (message: ToThread) => this.#receive(message));
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get job(): Lease & { readonly fence: bigint } {
    const { token, fence } = this.#lease;
    return { jobId: this.#jobId, token, fence };
  }

  get isCertain(): boolean {
    return this.remainingMs() > 0;
  }

  remainingMs(): number {
    return Math.max(0, this.#lease.remainingMs - (performance.now() - this.#leasedAt));
  }

  get completedIn(): boolean {
    return this.#completedIn;
  }

  /** The scheduler knows it before the database does, so that no heartbeat takes the end for a loss. */
  set completedIn(completedIn: boolean) {
    this.#completedIn = completedIn;
    this.#send({ type: 'completing', completedIn });
  }

  completed(settlement: Settlement): void {
    this.#send({ type: 'completed', settlement });
  }

  /** Resolves when the checkpoint, or a later one, is saved. */
  offerCheckpoint({ text }: JsonText, flush: boolean): Promise<void> {
    const checkpoint = ++this.#checkpoints;
    this.#lastCheckpoint = text;
    const saved = new Promise<void>((resolve) => this.#waiting.set(checkpoint, resolve));
    this.#send({ type: 'checkpoint', checkpoint, text, flush });
    return saved;
  }

  /** What the scheduler has to know when the handler has ended. */
  said(): Pick<ThreadAnswer, 'declared' | 'unsaved'> {
    return {
      declared: this.declared,
      unsaved: this.#waiting.size > 0 ? this.#lastCheckpoint : undefined,
    };
  }

  close(): void {
    this.#port.close();
  }

  #send(message: FromThread): void {
    this.#port.postMessage(message);
  }

  #receive(message: ToThread): void {
    switch (message.type) {
      case 'abort':
        this.#abort.abort(new JobAbort(message.reason));
        break;
      case 'lease':
        this.#lease = message.lease;
        this.#leasedAt = performance.now();
        break;
      case 'saved':
        this.#waiting.get(message.checkpoint)?.();
        this.#waiting.delete(message.checkpoint);
        break;
    }
  }
}

/** The context of a handler in a thread. Its functions may be taken apart from it. */
class ThreadContext implements Context {
  readonly #running: ThreadRunning;

  constructor(running: ThreadRunning) {
    this.#running = running;
  }

  get signal(): AbortSignal {
    return this.#running.signal;
  }

  get fence(): bigint {
    return this.#running.job.fence;
  }

  get token(): string {
    return this.#running.job.token;
  }

  readonly remainingMs = (): number => this.#running.remainingMs();

  readonly checkpoint: Context['checkpoint'] = observed(async (data, { flush = false } = {}) => {
    const saved = this.#running.offerCheckpoint(toDocument('checkpoint', data), flush);
    if (flush) await saved;
  });

  readonly fail: Context['fail'] = (error, options = {}) => {
    this.#running.declared ??= failure(error, options);
  };

  readonly release: Context['release'] = (options = {}) => {
    this.#running.declared ??= release(options);
  };

  readonly deadLetter: Context['deadLetter'] = (reason) => {
    this.#running.declared ??= deadLetter(reason);
  };

  readonly transaction: Context['transaction'] = async (work) => {
    transactions ??= openTransactions();
    return (await transactions).run(this.#running, work);
  };

  readonly completeIn: Context['completeIn'] = async (transaction, result) => {
    const document = toResult(result);
    this.#running.completedIn = true;
    const { jobId, token } = this.#running.job;
    await Client.unchecked(transaction).complete(jobId, token, document);
  };
}
