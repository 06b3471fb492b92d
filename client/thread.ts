/* The entry of a worker thread: loads the module of a handler and runs it for one job at a time. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Client } from './client.ts';
import { fromShared, type Instant, msUntil } from './clock.ts';
import type { Context, Handler } from './context.ts';
import { type ErrorCode, LeaseholdError } from './errors.ts';
import type { AbortReason, JobRef } from './events.ts';
import { describeError, type JsonText, toDocument } from './json.ts';
import { observed, storable, toResult } from './runner.ts';
import { deadLetter, failure, JobAbort, type Outcome, release } from './running.ts';
import type {
  FromThread,
  Refusal,
  ThreadEnd,
  ThreadLease,
  ThreadRun,
  ThreadTask,
  ToThread,
} from './thread-messages.ts';
import type { Holder, TransactionOptions, Transactions } from './transaction.ts';
import type { Lease, Settlement } from './types.ts';
import { watched } from './watched-signal.ts';

/** The handlers of this thread, by module. */
const loaded = new Map<string, Handler>();
/** The job whose handler runs. */
let current: ThreadRunning | undefined;
/** How many have begun in this thread. */
let begun = 0;
/** What an earlier job left behind has thrown: this thread ends with the job that runs. */
let tainted = false;
/** On whose behalf code runs, also long after the handler has returned. */
const behalf = new AsyncLocalStorage<ThreadRunning>();

/** Resolves to why the module cannot be had, where it was only to be loaded. */
export default async function runInThread(task: ThreadTask): Promise<string | undefined> {
  const { module, run } = task;
  if (run === undefined) {
    return load(module).then(
      () => undefined,
      (thrown: unknown) => describeError(thrown),
    );
  }
  const running = new ThreadRunning(run);
  current = running;
  try {
    const handler = loaded.get(module) ?? (await load(module));
    await behalf.run(running, runHandler, handler, run, running);
  } catch (thrown) {
    running.answer({ missing: describeError(thrown) });
  } finally {
    current = undefined;
    running.close();
  }
  if (tainted) process.exit();
  return undefined;
}

/** Loads a module. One that was loaded is there for as long as the thread, whatever becomes of its file. */
async function load(module: string): Promise<Handler> {
  const { default: handler }: { default?: unknown } = await import(module);
  if (typeof handler !== 'function') {
    throw new TypeError(`${module} has no function as its default export`);
  }
  loaded.set(module, handler as Handler);
  return handler as Handler;
}

/** Never rejects. */
async function runHandler(
  handler: Handler,
  { job, isParsed }: ThreadRun,
  running: ThreadRunning,
): Promise<void> {
  running.begin();
  try {
    const payload: unknown = isParsed ? job.payload : JSON.parse(String(job.payload));
    const returned: unknown = await handler({ ...job, payload }, new ThreadContext(running));
    running.answer({ result: storable(running, returned)?.text });
  } catch (thrown) {
    running.answer({ thrown: describeError(thrown) });
  }
}

/*
 * What nobody catches ends the thread, which concerns whoever runs in it. So it is told whose it is: the
 * job that runs has failed by its own, and goes on where another has left it behind.
 */
process.on('uncaughtException', (error: unknown) => {
  // The module looks after such things itself.
  if (process.listenerCount('uncaughtException') > 1) return;
  const culprit = behalf.getStore();
  if (current !== undefined && culprit !== undefined && culprit !== current) {
    tainted = true;
    current.send({ type: 'strayed', job: culprit.reference, error: describeError(error) });
    return;
  }
  current?.crash(describeError(error), culprit === undefined && begun > 1);
  process.exit(1);
});

process.on('exit', (code) => {
  const culprit = behalf.getStore();
  if (current === undefined || culprit === undefined) return;
  const how = `worker exited with code: ${code}`;
  current.answer(culprit === current ? { thrown: how } : { interrupted: how });
});

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
  readonly #run: ThreadRun;
  readonly #port: MessagePort;
  readonly #abort = new AbortController();
  /** It is certain that the job is completed: its lease need not last. */
  #isCompleted = false;
  #aborted = false;
  /** Those who wait for a checkpoint to be saved. */
  readonly #waiting = new Map<number, Waiter>();
  #lease: ThreadLease;
  #checkpoints = 0;
  #completedIn = false;
  /** What the handler said of its end before it came to it. */
  declared: Outcome | undefined;
  endTransaction: (() => void) | undefined;

  #hasBegun = false;
  #answered = false;

  constructor(run: ThreadRun) {
    this.#run = run;
    this.#lease = run.lease;
    this.#port = run.port;
    this.#port.on('message', (message: ToThread) => this.#receive(message));
    watched(this.#abort.signal, () => this.#look());
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get job(): Lease & { readonly fence: bigint } {
    const { token, fence } = this.#lease;
    return { jobId: this.#run.job.id, token, fence };
  }

  get isCertain(): boolean {
    return msLeft(this.#lease.until) > 0;
  }

  remainingMs(): number {
    const { until, runsUntil } = this.#lease;
    return Math.max(0, Math.min(msLeft(until), msLeft(runsUntil)));
  }

  /** What was said while the handler kept its thread busy comes first: the lease may have been renewed. */
  #look(): void {
    if (this.#aborted) return;
    for (;;) {
      const received: { message: ToThread } | undefined = receiveMessageOnPort(this.#port);
      if (received === undefined) break;
      this.#receive(received.message);
    }
    if (!this.#isCompleted && msLeft(this.#lease.until) <= 0) this.#stop('lease_lost');
    else if (msLeft(this.#lease.runsUntil) <= 0) this.#stop('max_runtime');
  }

  /** The scheduler may have renewed the lease meanwhile: it learns why the handler ends. */
  #stop(reason: AbortReason): void {
    if (this.#aborted) return;
    this.send({ type: 'aborted', reason });
    this.#fire(reason);
  }

  #fire(reason: AbortReason): void {
    this.#aborted = true;
    this.#abort.abort(new JobAbort(reason));
  }

  get completedIn(): boolean {
    return this.#completedIn;
  }

  /** The scheduler knows it before the database does, so that no heartbeat takes the end for a loss. */
  set completedIn(completedIn: boolean) {
    this.#completedIn = completedIn;
    this.send({ type: 'completing', completedIn });
  }

  completed(settlement: Settlement): void {
    this.#isCompleted = true;
    this.send({ type: 'completed', settlement });
  }

  /** With `flush` resolves when the checkpoint, or a later one, is saved; rejects if that will not be. */
  async offerCheckpoint({ text }: JsonText, flush: boolean): Promise<void> {
    const checkpoint = ++this.#checkpoints;
    this.send({ type: 'checkpoint', checkpoint, text, flush });
    if (!flush) return;
    await new Promise<void>((resolve, reject) => {
      this.#waiting.set(checkpoint, { resolve, reject });
    });
  }

  /** Names the job. */
  get reference(): JobRef {
    const { id: jobId, queue, attempt } = this.#run.job;
    return { jobId, queue, attempt };
  }

  /** Says that the handler is called. */
  begin(): void {
    begun++;
    this.#hasBegun = true;
    this.send({ type: 'began', first: begun === 1 });
  }

  /** Says how the handler ended, once, with all that the scheduler has to know then. */
  answer(end: ThreadEnd): void {
    if (this.#answered) return;
    this.#answered = true;
    this.send({ type: 'answer', answer: { declared: this.declared, ...end } });
  }

  /** Says what nobody has caught. Before the handler is called it can only come from its module. */
  crash(thrown: string, unclear: boolean): void {
    this.answer(this.#hasBegun ? { thrown, unclear } : { missing: thrown });
  }

  close(): void {
    this.#port.close();
  }

  send(message: FromThread): void {
    this.#port.postMessage(message);
  }

  #receive(message: ToThread): void {
    switch (message.type) {
      case 'abort':
        this.#fire(message.reason);
        break;
      case 'lease':
        this.#lease = message.lease;
        break;
      case 'saved':
        this.#waiting.get(message.checkpoint)?.resolve();
        this.#waiting.delete(message.checkpoint);
        break;
      case 'refused':
        this.#waiting.get(message.checkpoint)?.reject(errorOf(message.reason));
        this.#waiting.delete(message.checkpoint);
        break;
    }
  }
}

function msLeft(until: Instant | undefined): number {
  return until === undefined ? Infinity : msUntil(fromShared(until));
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** Why a checkpoint is not saved, as a handler in the main thread is told it. */
function errorOf({ kind, code, message }: Refusal): Error {
  if (kind === 'abort') return new JobAbort(code as AbortReason);
  if (kind === 'leasehold') return new LeaseholdError(code as ErrorCode, message);
  return Object.assign(new Error(message), { code });
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
    await this.#running.offerCheckpoint(toDocument('checkpoint', data), flush);
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
