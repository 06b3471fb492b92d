import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { inject } from 'vitest';
import type { SchedulerEvent, SchedulerOptions, StopResult } from '../../client/index.ts';
import type { HandlerReport } from './behaviours.ts';
import { createInvocations } from './invocations.ts';

/** The options of a Scheduler that JSON can say. */
export type WorkerOptions = Omit<
  SchedulerOptions<Record<string, { payload: unknown; result: unknown }>>,
  'connection' | 'listenConnection' | 'handlers' | 'onEvent'
>;

export interface WorkerSpec {
  /** Where the scheduler connects to: a database, or a proxy before it. */
  readonly url: string;
  /** Where it listens; false: nowhere. @default url */
  readonly listenUrl?: string | false;
  /** Where runs of handlers are written down: the database itself. @default url */
  readonly recordUrl?: string;
  /** Application name of its connections (`<name>-listen` at a listenUrl), and `by` in its results. @default worker */
  readonly name?: string;
  /** Queues whose jobs say what is done with them, see behaviours.ts. @default ['work'] */
  readonly queues?: readonly string[];
  /** The same, in worker threads. @default [] */
  readonly threadQueues?: readonly string[];
  readonly options?: WorkerOptions;
  /** How long stop() lets handlers finish after SIGTERM. @default the scheduler's */
  readonly graceMs?: number;
  /** By how much Date.now() of the process is wrong. @default 0 */
  readonly clockOffsetMs?: number;
}

export type WorkerSettings = Required<
  Pick<WorkerSpec, 'url' | 'name' | 'queues' | 'threadQueues' | 'options'>
> &
  Pick<WorkerSpec, 'listenUrl' | 'graceMs' | 'clockOffsetMs'>;

/** The scheduler's events, what its handlers do in the main thread, and the process's own. */
export type WorkerEvent =
  | Exclude<SchedulerEvent, { error?: unknown }>
  | Extract<SchedulerEvent, { type: 'job:settled' | 'outcome:refused' }>
  | Reported<Extract<SchedulerEvent, { error: unknown }>>
  | HandlerReport
  | { readonly type: 'ready'; readonly workerId: string }
  | { readonly type: 'stopping' }
  | ({ readonly type: 'stopped' } & StopResult);

type Reported<E> = E extends { error: unknown }
  ? Omit<E, 'error'> & { readonly error: { readonly message: string; readonly code: string } }
  : never;

export type WorkerEventType = WorkerEvent['type'];
export type WorkerEventOf<T extends WorkerEventType> = Extract<WorkerEvent, { type: T }>;

export interface WorkerReport {
  /** The worker's true Date.now(). */
  readonly at: number;
  readonly event: WorkerEvent;
}

/**
 * Starts a process with a scheduler whose jobs say what is done with them, and resolves once it has
 * reached the database. SIGTERM makes it stop() and end by itself.
 */
export async function startWorker(spec: WorkerSpec): Promise<WorkerProcess> {
  const recordUrl = spec.recordUrl ?? spec.url;
  await createInvocations(recordUrl);
  const start = async (): Promise<WorkerProcess> => {
    const worker = new WorkerProcess(spec, recordUrl);
    await worker.event('ready');
    return worker;
  };
  // Loading all modules takes a core for a while: many at once would stall those that work already.
  const started = lastStart.then(start, start);
  // One that cannot reach its database does not keep the others waiting for long.
  lastStart = Promise.race([started, sleep(5000, undefined, { ref: false })]);
  return started;
}

let lastStart: Promise<unknown> = Promise.resolve();

export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #reports: WorkerReport[] = [];
  readonly #waiting = new Set<() => void>();
  #stderr = '';
  #gone = false;

  readonly name: string;
  /** Resolves when the process has ended: its exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;

  constructor(spec: WorkerSpec, recordUrl: string) {
    this.name = spec.name ?? 'worker';
    const { url, listenUrl, queues, threadQueues, options, graceMs, clockOffsetMs } = spec;
    const settings: WorkerSettings = {
      url,
      name: this.name,
      queues: queues ?? (threadQueues === undefined ? ['work'] : []),
      threadQueues: threadQueues ?? [],
      options: options ?? {},
      ...(listenUrl === undefined ? {} : { listenUrl }),
      ...(graceMs === undefined ? {} : { graceMs }),
      ...(clockOffsetMs === undefined ? {} : { clockOffsetMs }),
    };
    this.#child = spawn(process.execPath, [inject('worker'), JSON.stringify(settings)], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        LEASEHOLD_WORKER_RECORD_URL: recordUrl,
        LEASEHOLD_WORKER_NAME: this.name,
      },
    });
    const { stdout, stderr } = this.#child;
    if (stdout === null || stderr === null) throw new Error('the worker has no output');
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-4000);
    });
    createInterface({ input: stdout }).on('line', (line) => {
      this.#reports.push(JSON.parse(line) as WorkerReport);
      for (const look of [...this.#waiting]) look();
    });
    // 'close' comes after the last line.
    this.exited = once(this.#child, 'close').then(([code, signal]) => {
      this.#gone = true;
      for (const look of [...this.#waiting]) look();
      return (signal ?? code) as number | NodeJS.Signals;
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('the worker did not start');
    return this.#child.pid;
  }

  /** What it has reported so far. */
  get reports(): readonly WorkerReport[] {
    return this.#reports;
  }

  /** The events of one type so far, and of one job. */
  events<T extends WorkerEventType>(type: T, jobId?: string): WorkerEventOf<T>[] {
    return this.#reports.flatMap(({ event }) =>
      event.type === type && (jobId === undefined || ('jobId' in event && event.jobId === jobId))
        ? [event as WorkerEventOf<T>]
        : [],
    );
  }

  /**
   * The first report of a type that the condition holds for: one that is there already, or one to
   * come. `from` leaves out earlier ones: `{ from: worker.reports.length }` waits for the next.
   * Rejects when the process ends without it.
   */
  event<T extends WorkerEventType>(
    type: T,
    holds: (event: WorkerEventOf<T>) => boolean = () => true,
    { from = 0 }: { from?: number } = {},
  ): Promise<{ readonly at: number; readonly event: WorkerEventOf<T> }> {
    return new Promise((resolve, reject) => {
      let next = from;
      const look = (): void => {
        for (; next < this.#reports.length; next++) {
          const report = this.#reports[next];
          if (report?.event.type !== type || !holds(report.event as WorkerEventOf<T>)) continue;
          this.#waiting.delete(look);
          resolve({ at: report.at, event: report.event as WorkerEventOf<T> });
          return;
        }
        if (this.#gone) {
          this.#waiting.delete(look);
          reject(new Error(`worker ${this.name} ended without ${type}:\n${this.#stderr}`));
        }
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** The same, of what comes from now on. */
  nextEvent<T extends WorkerEventType>(
    type: T,
    holds?: (event: WorkerEventOf<T>) => boolean,
  ): Promise<{ readonly at: number; readonly event: WorkerEventOf<T> }> {
    return this.event(type, holds, { from: this.#reports.length });
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#child.kill(signal);
  }

  /** Ends it by force, frozen or not, and waits for that. */
  async destroy(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
  }
}
