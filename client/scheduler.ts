import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type pg from 'pg';
import { Client } from './client.ts';
import { backoffMs, type Instant, jittered, now } from './clock.ts';
import { hasCode, isPassing, LeaseholdError } from './errors.ts';
import type { AbortReason, SchedulerEvent } from './events.ts';
import { Heart } from './heart.ts';
import { describeError } from './json.ts';
import { Link, Pace } from './link.ts';
import { Listener } from './listener.ts';
import { DEFAULTS, type SchedulerOptions, type Timing, timingOf } from './options.ts';
import type { UnparsedJob } from './rows.ts';
import { FunctionRunner, type Runner } from './runner.ts';
import { type Outcome, Running, reference } from './running.ts';
import { Settler } from './settler.ts';
import { Signal } from './signal.ts';
import { ThreadRunner, Threads } from './thread-runner.ts';
import type { AnyQueues, QueueTypes, Settlement } from './types.ts';
import { VERSION } from './version.ts';

/** How soon after the beginning of a doze to look again. */
const EARLY_LOOK_MS = 25;

/** A job whose handler went on after stop() had told it to end. */
export interface StuckJob {
  readonly jobId: string;
  readonly queue: string;
  readonly attempt: number;
}

export interface StopResult {
  /** Jobs whose handlers ignore their signal: released if `releaseStuck`, else left to expire. */
  readonly stuck: readonly StuckJob[];
}

/**
 * Finds jobs and hands them to handlers: one a process. Leases no more than it can start at once,
 * renews all leases with one call, and delivers every outcome until the database has answered.
 */
export class Scheduler<Q extends QueueTypes = AnyQueues> {
  /** The id under which this process leases: new at every start. */
  readonly workerId = randomUUID();
  readonly #options: SchedulerOptions<Q>;
  readonly #timing: Timing;
  readonly #queues: string[];
  readonly #runners: ReadonlyMap<string, Runner>;

  readonly #workLink: Link;
  readonly #heartLink: Link;
  readonly #client: Client;
  readonly #heart: Heart;
  readonly #settler: Settler;
  readonly #listener: Listener | undefined;

  readonly #running = new Map<string, Running>();
  readonly #wake = new Signal();
  readonly #slotFreed = new Signal();
  #queueIds = new Set<number>();
  #watch: NodeJS.Timeout | undefined;
  #maintenance: NodeJS.Timeout | undefined;
  readonly #stopping = new AbortController();
  #loop: Promise<void> | undefined;
  #stopped: Promise<StopResult> | undefined;

  /** Throws `invalid_argument` for lengths that leave no room for two lost heartbeats. */
  constructor(options: SchedulerOptions<Q>) {
    this.#options = options;
    this.#timing = timingOf(options);
    this.#runners = runnersOf(options, this.#timing.concurrency);
    this.#queues = [...this.#runners.keys()];
    if (this.#queues.length === 0) {
      throw new LeaseholdError(
        'invalid_argument',
        'there must be a handler for at least one queue',
      );
    }

    const connection = configOf(options.connection);
    const { callTimeoutMs: deadlineMs, heartbeatMs, checkpointMs, probeMs } = this.#timing;
    const onEvent = (event: SchedulerEvent): void => this.#emit(event);
    const pace = new Pace();
    this.#workLink = new Link({ connection, deadlineMs, pace });
    this.#heartLink = new Link({
      pace,
      // After an outage a worker has one lease length to show that it is still there.
      maxBackoffMs: Math.min(heartbeatMs, 5000),
      connection,
      deadlineMs: Math.min(deadlineMs, heartbeatMs / 2),
      connectDeadlineMs: deadlineMs,
    });
    this.#client = Client.unchecked(this.#workLink);
    this.#settler = new Settler(this.#client, onEvent);
    this.#heart = new Heart({
      client: Client.unchecked(this.#heartLink),
      running: this.#running,
      heartbeatMs,
      checkpointMs,
      register: () => this.#register(),
      checkDeadlines: () => this.#checkDeadlines(),
      onLost: (running, answer) =>
        this.#lose(running, answer.cancelRequested ? 'cancelled' : 'lease_lost'),
      onEvent,
    });
    this.#listener =
      options.listenConnection === false
        ? undefined
        : new Listener({
            connection: configOf(options.listenConnection ?? options.connection),
            workerId: this.workerId,
            queues: this.#queues,
            probeMs,
            deadlineMs,
            pace,
            onEvent,
            onReady: (queueId) => {
              if (queueId !== undefined && !this.#queueIds.has(queueId)) return;
              this.#listener?.rise();
              this.#wake.fire();
            },
            onCancel: () => this.#heart.beatNow(),
          });
  }

  /** How many handlers run. */
  get running(): number {
    return this.#running.size;
  }

  /**
   * Begins to work; resolves once the database has been reached, however long that takes. Rejects,
   * having begun nothing, where the schema is missing or unknown, or a queue does not exist.
   */
  async start(): Promise<void> {
    if (this.#loop !== undefined || this.#stopping.signal.aborted) {
      throw new LeaseholdError('invalid_argument', 'a scheduler starts once');
    }
    const checked = new Client(this.#workLink);
    const began = this.#untilAnswered('start', async () => {
      await checked.checkSchema();
      await this.#register();
      if (this.#queueIds.size < this.#queues.length) {
        // Asked for by name, it says which one.
        for (const queue of this.#queues) await this.#client.peek(queue, { limit: 1 });
      }
      return true;
    });
    this.#loop = began.then(
      (answered) => (answered ? this.#run() : undefined),
      () => undefined,
    );
    await began.catch(async (error: unknown) => {
      await this.stop({ graceMs: 0 });
      throw error;
    });
  }

  /**
   * Stops leasing and lets what runs finish, with heartbeats going on. After `graceMs` the handlers'
   * signals fire with `shutdown`, and what they leave is released. Resolves when nothing is left that
   * keeps the process alive. Never rejects; calling it again gives the same promise.
   */
  stop(options: { graceMs?: number } = {}): Promise<StopResult> {
    this.#stopped ??= this.#stop(options.graceMs ?? DEFAULTS.graceMs);
    return this.#stopped;
  }

  async #run(): Promise<void> {
    this.#emit({ type: 'worker:started', workerId: this.workerId });
    this.#heart.start();
    void this.#listener?.run();
    this.#maintainIn(jittered(this.#timing.maintenanceMs));

    let turn = 0;
    while (!this.#stopping.signal.aborted) {
      const free = this.#timing.concurrency - this.#running.size;
      if (free <= 0) {
        this.#listener?.rise();
        await this.#slotFreed.wait();
        continue;
      }
      const jobs = await this.#lease(free, turn++);
      if (jobs.length === free || (await this.#listener?.doze())) continue;
      // An enqueue that was under way when the doze began announces nothing: one early look for it.
      const early = (this.#listener?.dozingForMs ?? Infinity) < EARLY_LOOK_MS;
      await this.#wake.wait(early ? EARLY_LOOK_MS : jittered(this.#timing.pollMs));
    }
  }

  /** Leases and starts jobs. Every turn another queue comes first, so that none starves the others. */
  async #lease(limit: number, turn: number): Promise<UnparsedJob[]> {
    const first = turn % this.#queues.length;
    const queues = [...this.#queues.slice(first), ...this.#queues.slice(0, first)];
    const request = {
      workerId: this.workerId,
      limit,
      leaseMs: this.#timing.leaseMs,
      requestId: randomUUID(),
    };
    const answered = await this.#untilAnswered('lease', async () => {
      const sentAt = now();
      return { sentAt, jobs: await this.#client.leaseUnparsed(queues, request) };
    });
    if (answered === undefined) return [];

    for (const job of answered.jobs) {
      this.#take(job, answered.sentAt);
    }
    return answered.jobs;
  }

  #take(job: UnparsedJob, sentAt: Instant): void {
    const { leaseMs, renewDeadlineMs } = this.#timing;
    const leased = new Running(job, sentAt, leaseMs - renewDeadlineMs);
    const running = this.#running.get(job.jobId);
    if (running === undefined) {
      this.#begin(leased);
    } else if (running.settled) {
      // Its handler is stuck, and the verdict on it was delivered: another worker may try.
      void this.#settle(leased, { kind: 'release', delayMs: leaseMs });
    } else {
      running.adopt(job, sentAt);
      this.#emit({ type: 'job:adopted', ...reference(running) });
    }
  }

  /**
   * Repeats a call until the database has answered. A lease_jobs call goes on, under its request id,
   * while the scheduler stops: its lost answer may have leased jobs. Undefined once the link is closed.
   */
  async #untilAnswered<T>(call: 'start' | 'lease', make: () => Promise<T>): Promise<T | undefined> {
    for (let tries = 0; ; tries++) {
      try {
        return await make();
      } catch (error) {
        if (error instanceof LeaseholdError && error.code === 'stopped') return undefined;
        if (call === 'start' && !isPassing(error)) throw error;
        this.#emit({ type: 'call:failed', call, error });
        if (this.#stopping.signal.aborted && (call === 'start' || !isPassing(error))) {
          return undefined;
        }
        // What does not pass, a queue that was dropped say, may be mended by somebody: look again.
        const delayMs = isPassing(error) ? backoffMs(tries) : jittered(this.#timing.pollMs);
        await this.#wake.wait(delayMs);
      }
    }
  }

  #begin(running: Running): void {
    this.#running.set(running.job.jobId, running);
    this.#startWatch();
    // Under a lease that ran out on its way somebody else may be about to start the job.
    if (this.#stopping.signal.aborted || running.isPastDeadline(now())) {
      void this.#settle(running, { kind: 'release' }).then(() => this.#end(running));
      return;
    }
    this.#emit({ type: 'job:started', ...reference(running) });
    void this.#work(running);
  }

  async #work(running: Running): Promise<void> {
    const outcome = await this.#outcomeOf(running);
    if (running.outcome === undefined) {
      if (outcome !== undefined) await this.#settle(running, outcome);
    } else if (outcome?.kind === 'complete') {
      // Its verdict was delivered when it was given up on; what it returned now comes too late.
      this.#emit({
        type: 'outcome:refused',
        ...reference(running),
        outcome: 'complete',
        status: 'lease_lost',
      });
    }
    this.#end(running);
  }

  /** What the handler made of the job. Undefined: nothing to say, the lease was lost. Never rejects. */
  async #outcomeOf(running: Running): Promise<Outcome | undefined> {
    const runner = this.#runners.get(running.job.queue);
    if (runner === undefined) return { kind: 'release' };
    const { attempt } = running.job;
    try {
      const result = await runner.run(running, (data, flush) => {
        const saved = running.offerCheckpoint(data, flush);
        this.#heart.checkpointOffered(flush);
        return saved;
      });
      return running.declared ?? { kind: 'complete', result };
    } catch (thrown) {
      if (running.declared !== undefined) return running.declared;
      if (hasCode(thrown, 'invalid_payload')) {
        return { kind: 'dead_letter', reason: describeError((thrown as LeaseholdError).message) };
      }
      switch (running.abortReason) {
        case 'lease_lost':
          // Adopted after it was told to stop: the new lease is handed back for a fresh start.
          return running.job.attempt === attempt ? undefined : { kind: 'release' };
        case 'shutdown':
          return { kind: 'release' };
        case 'max_runtime':
          return { kind: 'fail', error: 'max_runtime_exceeded' };
        default:
          return { kind: 'fail', error: describeError(thrown) };
      }
    }
  }

  /** Fixes the outcome and delivers it; resolves when the database has answered. */
  async #settle(running: Running, outcome: Outcome): Promise<void> {
    running.outcome = outcome;
    const { token } = running.job;
    const settled = reference(running);
    const settlement = await this.#settler.deliver(running, outcome);
    if (settlement === undefined) return;

    const adopted = running.job.token !== token;
    if (adopted && endsJob(outcome)) {
      // Had it been accepted, nobody could have leased the job anew: it goes with the new lease.
      return this.#settle(running, outcome);
    }
    if (wasRefused(settlement) && !(running.completedIn && settlement.status === 'job_not_found')) {
      this.#emit({
        type: 'outcome:refused',
        ...settled,
        outcome: outcome.kind,
        status: settlement.status,
      });
    } else {
      this.#emit({
        type: 'job:settled',
        ...settled,
        status: settlement.status,
        late: settlement.late,
        ...(outcome.kind === 'fail' ? { error: outcome.error } : {}),
      });
    }
    // The job is to run again, and this process has it already: handed back for a fresh start.
    if (adopted) return this.#settle(running, { kind: 'release' });
    running.settled = true;
  }

  #end(running: Running): void {
    running.end();
    this.#running.delete(running.job.jobId);
    if (this.#running.size === 0) this.#stopWatch();
    this.#slotFreed.fire();
  }

  /** The lease is gone, or may be: the handler stops, and nothing is renewed any more (guarantee G10). */
  #lose(running: Running, reason: 'lease_lost' | 'cancelled'): void {
    if (running.lost) return;
    running.lose();
    this.#emit({ type: 'job:lost', ...reference(running) });
    this.#abort(running, reason);
  }

  #abort(running: Running, reason: AbortReason): void {
    if (running.abort(reason)) {
      this.#emit({ type: 'job:aborted', ...reference(running), reason });
    }
  }

  #checkDeadlines(): void {
    const at = now();
    for (const running of this.#running.values()) {
      // The handler has ended; whether its outcome still counts the database will say.
      if (running.outcome !== undefined) continue;
      if (!running.lost && running.isPastDeadline(at)) this.#lose(running, 'lease_lost');
      if (running.isPastRuntime(at)) this.#abort(running, 'max_runtime');

      const abortedForMs = running.abortedForMs(at) ?? 0;
      if (running.abortReason !== undefined && abortedForMs >= this.#timing.cancelGraceMs) {
        this.#giveUp(running, running.abortReason);
      }
    }
  }

  /** The handler ignores its signal. A thread is ended; a function keeps its slot, with the verdict delivered. */
  #giveUp(running: Running, reason: AbortReason): void {
    if (running.givenUp) return;
    running.givenUp = true;
    if (running.kill !== undefined) {
      running.kill();
      return;
    }
    running.stuck = true;
    this.#emit({ type: 'job:stuck', ...reference(running), reason });
    if (reason === 'max_runtime') {
      void this.#settle(running, { kind: 'fail', error: 'max_runtime_exceeded' });
    } else if (reason === 'cancelled' && !running.lost) {
      void this.#settle(running, { kind: 'fail', error: 'the handler ignores the cancel' });
    } else if (reason === 'shutdown' && this.#options.releaseStuck === true) {
      void this.#settle(running, { kind: 'release' });
    }
  }

  #startWatch(): void {
    if (this.#watch !== undefined) return;
    const { leaseMs, renewDeadlineMs } = this.#timing;
    // Fine enough that the signal fires well within the margin before the lease expires.
    const periodMs = Math.min(250, Math.max(10, (leaseMs - renewDeadlineMs) / 4));
    this.#watch = setInterval(() => this.#checkDeadlines(), periodMs);
  }

  #stopWatch(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }

  /** One round of maintenance, and the next when a scheduled job is due, a second later at most. */
  #maintainIn(ms: number): void {
    const { maintenanceMs } = this.#timing;
    if (maintenanceMs === 0 || this.#stopping.signal.aborted) return;
    this.#maintenance = setTimeout(async () => {
      let nextMs = jittered(maintenanceMs);
      try {
        const { promoted, reaped, nextDueInMs } = await this.#client.tick();
        if (promoted + reaped > 0) this.#wake.fire();
        nextMs = Math.min(nextMs, Math.max(nextDueInMs ?? nextMs, 5));
      } catch (error) {
        if (!this.#stopping.signal.aborted) {
          this.#emit({ type: 'call:failed', call: 'tick', error });
        }
      }
      this.#maintainIn(nextMs);
    }, ms);
  }

  async #register(): Promise<void> {
    const ids = await Client.unchecked(this.#heartLink).registerWorker(this.workerId, {
      queues: this.#queues,
      concurrency: this.#timing.concurrency,
      host: hostname(),
      pid: process.pid,
      clientVersion: VERSION,
    });
    this.#queueIds = new Set(ids.filter((id) => id !== undefined));
  }

  async #stop(graceMs: number): Promise<StopResult> {
    this.#stopping.abort();
    this.#wake.fire();
    this.#slotFreed.fire();
    clearTimeout(this.#maintenance);

    const deadline = performance.now() + graceMs;
    await this.#drained(graceMs);
    // A lease_jobs call whose answer is awaited may still bring jobs, which are released.
    await within(this.#loop, Math.max(deadline - performance.now(), this.#timing.callTimeoutMs));
    if (this.#running.size > 0) {
      for (const running of this.#running.values()) this.#abort(running, 'shutdown');
      await this.#drained(this.#timing.cancelGraceMs, (running) => !running.stuck);
      for (const running of this.#running.values()) {
        if (running.outcome === undefined) this.#giveUp(running, 'shutdown');
      }
      // Outcomes that are on their way, and threads that are being ended.
      await this.#drained(
        this.#timing.callTimeoutMs,
        (running) => !running.stuck || running.outcome !== undefined,
      );
    }
    const stuck = [...this.#running.values()].filter((running) => running.stuck).map(reference);

    this.#heart.stop();
    this.#settler.close();
    this.#stopWatch();
    await this.#listener?.close();
    if (this.#loop !== undefined) await this.#client.retireWorker(this.workerId).catch(() => false);
    await Promise.all([
      this.#workLink.close(),
      this.#heartLink.close(),
      ...[...this.#runners.values()].map((runner) => runner.close()),
    ]);
    this.#emit({ type: 'worker:stopped', workerId: this.workerId });
    return { stuck };
  }

  /** Resolves when no job that matters runs, or the time is up. */
  async #drained(ms: number, matters: (running: Running) => boolean = () => true): Promise<void> {
    const deadline = performance.now() + ms;
    while ([...this.#running.values()].some(matters)) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) return;
      await this.#slotFreed.wait(leftMs);
    }
  }

  #emit(event: SchedulerEvent): void {
    try {
      this.#options.onEvent?.(event);
    } catch {
      // What an observer throws must not change what is observed.
    }
  }
}

function runnersOf<Q extends QueueTypes>(
  options: SchedulerOptions<Q>,
  concurrency: number,
): ReadonlyMap<string, Runner> {
  const threads = new Threads({ max: concurrency, ...options.threads });
  const runners = new Map<string, Runner>();
  for (const [queue, given] of Object.entries(options.handlers as AnyHandlers)) {
    if (given === undefined) continue;
    if (typeof given === 'function') runners.set(queue, new FunctionRunner(given));
    else if ('module' in given) runners.set(queue, new ThreadRunner(given.module, threads, given));
    else runners.set(queue, new FunctionRunner(given.handler, given));
  }
  return runners;
}

type AnyHandlers = NonNullable<SchedulerOptions<AnyQueues>['handlers']>;

const REFUSALS: readonly string[] = [
  'lease_lost',
  'job_not_found',
  'job_cancelled',
  'job_finished',
];

/** Whether a job with this outcome never runs again. */
function endsJob({ kind }: Outcome): boolean {
  return kind === 'complete' || kind === 'dead_letter';
}

function wasRefused({ status }: Settlement): boolean {
  return REFUSALS.includes(status);
}

function configOf(connection: string | pg.ClientConfig): pg.ClientConfig {
  const config = typeof connection === 'string' ? { connectionString: connection } : connection;
  return { application_name: 'leasehold', ...config };
}

/** Waits for a promise, but not for ever. */
async function within(promise: Promise<unknown> | undefined, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    promise,
    new Promise((resolve) => {
      timer = setTimeout(resolve, ms);
    }),
  ]);
  clearTimeout(timer);
}
