/* The entry of a worker thread: loads the module of a handler and runs it for one job at a time. */
import type { MessagePort } from 'node:worker_threads';
import { Client } from './client.ts';
import type { Context, Handler } from './context.ts';
import { describeError, toDocument } from './json.ts';
import { observed, storable, toResult } from './runner.ts';
import { deadLetter, failure, JobAbort, type Running, release } from './running.ts';
import type {
  FromThread,
  ThreadAnswer,
  ThreadLease,
  ThreadTask,
  ToThread,
} from './thread-messages.ts';

export default async function runInThread(task: ThreadTask): Promise<ThreadAnswer> {
  const ending: Ending = { declared: undefined, completedIn: false };
  const context = new ThreadContext(task, ending);
  try {
    const loaded: { default?: unknown } = await import(task.module);
    if (typeof loaded.default !== 'function') {
      throw new TypeError(`${task.module} has no function as its default export`);
    }
    const payload: unknown = JSON.parse(task.job.payload);
    const returned: unknown = await (loaded.default as Handler)({ ...task.job, payload }, context);
    const result = storable(ending, returned)?.text;
    return { ...context.said(), result };
  } catch (thrown) {
    return { ...context.said(), thrown: describeError(thrown) };
  } finally {
    context.close();
  }
}

/** What the handler said of its end before it came to it. */
type Ending = Pick<Running, 'declared' | 'completedIn'>;

/** The context of a handler in a thread; everything of it that concerns the lease goes by messages. */
class ThreadContext implements Context {
  readonly #jobId: string;
  readonly #port: MessagePort;
  readonly #abort = new AbortController();
  readonly #waiting = new Map<number, () => void>();
  #lease: ThreadLease;
  #leasedAt = performance.now();
  #checkpoints = 0;
  #lastCheckpoint: string | undefined;
  readonly #ending: Ending;

  constructor({ job, lease, port }: ThreadTask, ending: Ending) {
    this.#ending = ending;
    this.#jobId = job.id;
    this.#lease = lease;
    this.#port = port;
    port.on('message', (message: ToThread) => this.#receive(message));
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get fence(): bigint {
    return this.#lease.fence;
  }

  get token(): string {
    return this.#lease.token;
  }

  // Functions of their own, so that a handler may take them apart from the context.
  readonly remainingMs = (): number =>
    Math.max(0, this.#lease.remainingMs - (performance.now() - this.#leasedAt));

  readonly checkpoint: Context['checkpoint'] = observed(async (data, { flush = false } = {}) => {
    const { text } = toDocument('checkpoint', data);
    const checkpoint = ++this.#checkpoints;
    this.#lastCheckpoint = text;
    const saved = new Promise<void>((resolve) => this.#waiting.set(checkpoint, resolve));
    this.#send({ type: 'checkpoint', checkpoint, text, flush });
    if (flush) await saved;
  });

  readonly fail: Context['fail'] = (error, options = {}) => {
    this.#ending.declared ??= failure(error, options);
  };

  readonly release: Context['release'] = (options = {}) => {
    this.#ending.declared ??= release(options);
  };

  readonly deadLetter: Context['deadLetter'] = (reason) => {
    this.#ending.declared ??= deadLetter(reason);
  };

  readonly completeIn: Context['completeIn'] = async (transaction, result) => {
    const document = toResult(result);
    this.#ending.completedIn = true;
    await Client.unchecked(transaction).complete(this.#jobId, this.#lease.token, document);
  };

  /** What the scheduler has to know when the handler has ended. */
  said(): Pick<ThreadAnswer, 'declared' | 'completedIn' | 'unsaved'> {
    return {
      ...this.#ending,
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
