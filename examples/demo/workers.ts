/* The worker processes, as the demonstration sees them: it starts, freezes, thaws, kills and stops them. */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SchedulerEvent } from '../../client/index.ts';
import type { StopMessage, WorkerSettings } from './worker.ts';

export interface WorkersOptions {
  readonly databaseUrl: string;
  readonly queue: string;
  /** Jobs that each of them works on at once. */
  readonly concurrency: number;
  readonly leaseMs: number;
  /** Told everything that a worker says. */
  readonly onEvent: (worker: WorkerProcess, event: SchedulerEvent) => void;
  /** Told of a worker that ended although nobody had asked it to. */
  readonly onCrash: (worker: WorkerProcess, how: string) => void;
}

export class Workers {
  readonly all: WorkerProcess[] = [];
  readonly #options: WorkersOptions;

  constructor(options: WorkersOptions) {
    this.#options = options;
  }

  /** Those that work: not killed, not frozen. */
  get working(): WorkerProcess[] {
    return this.all.filter((worker) => worker.state === 'working');
  }

  byId(workerId: string | undefined): WorkerProcess | undefined {
    return this.all.find((worker) => worker.workerId === workerId);
  }

  start(): WorkerProcess {
    const worker = new WorkerProcess(this.all.length + 1, this.#options);
    this.all.push(worker);
    return worker;
  }

  /** Lets them finish what they work on, for a time; resolves when none is left. */
  async stop(graceMs: number): Promise<void> {
    await Promise.all(this.all.map((worker) => worker.stop(graceMs)));
  }
}

/** How long a worker may take to end after its grace, before it is killed. */
const STOP_TIMEOUT_MS = 3_000;

export class WorkerProcess {
  /** `worker 2`: how people call it. */
  readonly name: string;
  readonly applicationName: string;
  state: 'working' | 'frozen' | 'ended' = 'working';
  /** The id it leases under; undefined until it has started. */
  workerId: string | undefined;
  readonly #child: ChildProcess;
  #thawer: ChildProcess | undefined;

  constructor(number: number, options: WorkersOptions) {
    this.name = `worker ${number}`;
    this.applicationName = `${options.queue} ${this.name}`;
    const { queue, concurrency, leaseMs } = options;
    const { applicationName } = this;
    const settings: WorkerSettings = { queue, concurrency, leaseMs, applicationName };
    this.#child = fork(
      join(import.meta.dirname, `worker${extname(import.meta.filename)}`),
      [JSON.stringify(settings)],
      {
        env: { ...process.env, DATABASE_URL: options.databaseUrl },
        // Events may carry errors, which JSON would lose.
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      },
    );
    this.#child.on('message', (event: SchedulerEvent) => {
      if (event.type === 'worker:started') this.workerId = event.workerId;
      options.onEvent(this, event);
    });
    // A message to one that has just ended.
    this.#child.on('error', () => undefined);
    this.#child.once('exit', (code, signal) => {
      if (this.state !== 'ended') options.onCrash(this, signal ?? `exit status ${code}`);
      this.state = 'ended';
    });
  }

  /**
   * Stops the process where it stands. The means to thaw it is made first: a shell that waits for the
   * end of its input, so that nobody stays frozen, however this process ends.
   */
  async freeze(): Promise<void> {
    const pid = String(this.#child.pid);
    this.#thawer = spawn('/bin/sh', ['-c', 'read -r _; kill -CONT "$1"', 'thawer', pid], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    await once(this.#thawer, 'spawn');
    this.state = 'frozen';
    this.#child.kill('SIGSTOP');
  }

  async thaw(): Promise<void> {
    if (this.#thawer === undefined) return;
    const exit = once(this.#thawer, 'exit');
    this.#thawer.stdin?.end();
    this.#thawer = undefined;
    await exit;
    if (this.state === 'frozen') this.state = 'working';
  }

  async kill(): Promise<void> {
    const exit = this.#exit();
    this.state = 'ended';
    this.#child.kill('SIGKILL');
    await exit;
    await this.thaw();
  }

  async stop(graceMs: number): Promise<void> {
    await this.thaw();
    const exit = this.#exit();
    this.state = 'ended';
    const message: StopMessage = { graceMs };
    if (this.#child.connected) this.#child.send(message, () => undefined);
    const timeout = new AbortController();
    const late = sleep(graceMs + STOP_TIMEOUT_MS, undefined, { signal: timeout.signal });
    late.then(
      () => this.#child.kill('SIGKILL'),
      () => undefined,
    );
    await exit;
    timeout.abort();
  }

  async #exit(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    await once(this.#child, 'exit');
  }
}
