/* The entry of a worker thread: loads the module of a handler and runs it for one job at a time. */
import type { MessagePort } from 'node:worker_threads';
import { Client } from './client.ts';
import type { Context, Handler } from './context.ts';
import { describeError, toDocument, toText } from './json.ts';
import { failure, JobAbort, type Outcome, release } from './running.ts';
import type {
  FromThread,
  ThreadAnswer,
  ThreadLease,
  ThreadTask,
  ToThread,
} from './thread-messages.ts';

export default async function runInThread(task: ThreadTask): Promise<ThreadAnswer> {
  const context = new ThreadContext(task);
  try {
    const loaded: { default?: unknown } = await import(task.module);
    if (typeof loaded.default !== 'function') {
      throw new TypeError(`${task.module} has no function as its default export`);
    }
    const payload: unknown = JSON.parse(task.job.payload);
    const result: unknown = await (loaded.default as Handler)({ ...task.job, payload }, context);
    const document = result === undefined ? undefined : toDocument('result', result);
    return { ...context.said(), result: document?.text };
  } catch (thrown) {
    return { ...context.said(), thrown: describeError(thrown) };
  } finally {
    context.close();
  }
}

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
  #declared: Outcome | undefined;
  #completedIn = false;

  constructor({ job, lease, port }: ThreadTask) {
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

  readonly checkpoint: Context['checkpoint'] = async (data, { flush = false } = {}) => {
    const { text } = toDocument('checkpoint', data);
    const checkpoint = ++this.#checkpoints;
    this.#lastCheckpoint = text;
    const saved = new Promise<void>((resolve) => this.#waiting.set(checkpoint, resolve));
    this.#send({ type: 'checkpoint', checkpoint, text, flush });
    if (flush) await saved;
  };

  readonly fail: Context['fail'] = (error, options = {}) => {
    this.#declared ??= failure(error, options);
  };

  readonly release: Context['release'] = (options = {}) => {
    this.#declared ??= release(options);
  };

  readonly deadLetter: Context['deadLetter'] = (reason) => {
    this.#declared ??= {
      kind: 'dead_letter',
      reason: reason === undefined ? undefined : toText(reason),
    };
  };

  readonly completeIn: Context['completeIn'] = async (transaction, result) => {
    const document = result === undefined ? undefined : toDocument('result', result);
    this.#completedIn = true;
    await Client.unchecked(transaction).complete(this.#jobId, this.#lease.token, document);
  };

  /** What the scheduler has to know when the handler has ended. */
  said(): Pick<ThreadAnswer, 'declared' | 'completedIn' | 'unsaved'> {
    return {
      declared: this.#declared,
      completedIn: this.#completedIn,
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
