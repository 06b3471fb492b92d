import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type pg from 'pg';
import { Arrivals } from './arrivals.ts';
import { Client } from './client.ts';
import { backoffMs, type Instant, jittered, now, timer } from './clock.ts';
import { isPassing, LeaseholdError } from './errors.ts';
import type { JobRef, OutcomeKind, SchedulerEvent } from './events.ts';
import { Heart } from './heart.ts';
import { Invocations } from './invocations.ts';
import { type Leased, leaseUnparsed } from './leasing.ts';
import { Link, Pace } from './link.ts';
import { Listener } from './listener.ts';
import {
  connectionOf,
  DEFAULTS,
  handlersOf,
  limitsOf,
  type SchedulerOptions,
  type Timing,
  timingOf,
} from './options.ts';
import { Portion } from './portion.ts';
import { FunctionRunner, type Runner } from './runner.ts';
import { reference } from './running.ts';
import { Settler } from './settler.ts';
import { type Share, sharesOf } from './shares.ts';
import { Signal } from './signal.ts';
import { ThreadRunner, Threads } from './thread-runner.ts';
import { Throttle, TokenBucket } from './throttle.ts';
import { Transactions } from './transaction.ts';
import type { AnyQueues, QueueTypes } from './types.ts';
import { VERSION } from './version.ts';
import type { Waiting } from './waiting.ts';

/** How soon after jobs begin to be announced to look for those that just were not. */
const EARLY_LOOKS_MS = [25, 150];

/** Jobs that come more often one by one are looked for: being told of each costs more. */
const OFTEN_MS = 5;

/** Between two looks of the one that watches, so that nobody need be woken. */
const WATCH_MS = 8;

/**
 * What anybody can notify of: how often it is followed if nothing comes of it. A look that brings jobs earns
 * as many more as it has found worth it, and so does a heartbeat that brings a cancel.
 */
const HINTED_LOOKS = { burst: 8, perSecond: 4 };
const HINTED_BEATS = { burst: 3, perSecond: 1 };
const EARNED = 4;

/** How often to begin to watch if that finds nothing. */
const WATCHES = { burst: 2, perSecond: 0.2 };

/** For how long a full scheduler may stay the one to be woken: slots of short handlers are free again at once. */
const FULL_MS = 2;

/** Longest time a call on the connection for completions may take. */
const COMPLETE_DEADLINE_MS = 2000;

/** So many workers do all maintenance in time; where there are more, each does it less often. */
const ENOUGH_TICKING = 4;

/** How much less often at most: many may die at once. */
const MAX_SHARE = 10;

/** Most lease_jobs calls under way at once: the second one waits at the server for the first to be done. */
const MAX_CALLS = 2;

/** Most jobs that lease_jobs gives at once. */
const MAX_LEASES = 10_000;

/*
 * When each part of stop() is over, counted from the end of the grace, so that it resolves within two
 * seconds whatever the database and the handlers do.
 */
/** Handlers, once their signals have fired. */
const HANDLERS_MS = 1000;
/** The delivery of what they left. */
const OUTCOMES_MS = 1500;
/** Saying goodbye to the database. */
const GOODBYE_MS = 1700;
/** Connections and threads. */
const CLOSED_MS = 1900;

/** Most connections for ctx.transaction, in this process and in each worker thread. */
const MAX_TRANSACTIONS = 10;

/** An outcome that the database had not answered when stop() was over: it may have got it or not. */
export interface UndeliveredOutcome extends JobRef {
  readonly outcome: OutcomeKind;
}

export interface StopResult {
  /** Jobs whose handlers went on after their signal: released if `releaseStuck`, else left to expire. */
  readonly stuck: readonly JobRef[];
  /** Outcomes given up: these jobs run again once their leases have expired, unless they got there. */
  readonly undelivered: readonly UndeliveredOutcome[];
}

/** A lease_jobs call to make. */
interface Look {
  readonly share: Share;
  /** Those of the share that are served. */
  readonly queues: readonly string[];
  readonly limit: number;
}

/** A lease_jobs call that is under way. */
interface Leasing {
  readonly share: Share;
  readonly limit: number;
  /** Resolves to whether there may be more jobs, once those that it brought have begun. Never rejects. */
  readonly answer: Promise<boolean>;
}

/**
 * Finds jobs and hands them to handlers: one a process. Leases no more than it can start at once or,
 * where handlers take microseconds, before the database could answer again. Renews all leases with one
 * call, and delivers every outcome until the database has answered.
 */
export class Scheduler<Q extends QueueTypes<Q> = AnyQueues> {
  /** The id under which this process leases: new at every start. */
  readonly workerId = randomUUID();
  /** Proves to the database that it is this process that is there: others can read its id. */
  readonly #secret = randomUUID();
  readonly #options: SchedulerOptions<Q>;
  readonly #timing: Timing;
  readonly #queues: string[];
  /** The queues that are leased from together, the share that was asked last behind all others. */
  readonly #shares: Share[];
  /** Those in which a look has found all there was, since the last rest. */
  readonly #exhausted = new Set<Share>();
  /** Those of whose queues none was there, and until when they are not asked again. */
  readonly #missingUntil = new Map<Share, number>();
  readonly #runners: ReadonlyMap<string, Runner>;

  readonly #workLink: Link;
  readonly #heartLink: Link;
  /** Opened where short handlers complete in great batches. */
  readonly #completeLink: Link;
  /** Opens a connection when a handler first asks for one. */
  readonly #transactions: Transactions;
  readonly #client: Client;
  readonly #heart: Heart;
  readonly #settler: Settler;
  readonly #listener: Listener | undefined;

  readonly #invocations: Invocations;
  readonly #arrivals = new Arrivals();
  readonly #wake = new Signal();
  readonly #hintedLooks = new Throttle(HINTED_LOOKS, () => this.#wake.fire());
  readonly #hintedPasses = new Throttle(HINTED_LOOKS, () => this.#waiting?.passOn());
  readonly #hintedBeats = new Throttle(HINTED_BEATS, () => this.#heart.beatNow());
  readonly #watches = new TokenBucket(WATCHES);
  /** Calls that wait to be repeated. */
  readonly #retries = new Set<Signal>();
  /** The lease_jobs calls under way, the first one first. */
  readonly #calls: Leasing[] = [];
  /** How many jobs one of them may ask for. */
  readonly #portion = new Portion(MAX_LEASES);
  /** Counts them. */
  #turn = 0;
  /** When the last of them was answered. */
  #answeredAt = 0;
  #queueIds = new Set<number>();
  /** Those of which it was said that they do not exist. */
  readonly #missing = new Set<string>();
  /** How far the database's clock is ahead of this machine's: of use for events only. */
  #aheadMs = 0;
  #maintenance: NodeJS.Timeout | undefined;
  readonly #stopping = new AbortController();
  #loop: Promise<void> | undefined;
  /** The database was reached, so there may be jobs. */
  #runs = false;
  #stopped: Promise<StopResult> | undefined;
  /** The last event was told: what handlers that go on do later is nobody's business. */
  #toldLast = false;

  /**
   * Throws `invalid_argument` for lengths that leave no room for two lost heartbeats, and for what can be
   * neither a connection nor a handler.
   */
  constructor(options: SchedulerOptions<Q>) {
    this.#options = options;
    this.#timing = timingOf(options);
    const { concurrency, callTimeoutMs: connectTimeoutMs } = this.#timing;
    this.#transactions = new Transactions({
      connection: configOf('connection', options.connection),
      max: Math.min(concurrency, MAX_TRANSACTIONS),
      connectTimeoutMs,
    });
    this.#runners = this.#runnersOf(options);
    this.#queues = [...this.#runners.keys()];
    const limits = limitsOf(handlersOf(options.handlers), concurrency, options.threads?.max);
    this.#shares = sharesOf(this.#queues, limits);

    const connection = configOf('connection', options.connection);
    const { callTimeoutMs: deadlineMs } = this.#timing;
    const { checkpointMs, probeMs } = this.#timing;
    const heartbeatMs = (): number => this.#heartbeatMs();
    const renewDeadlineMs = (): number =>
      this.#timing.renewDeadlineOf(this.#invocations.shortestLeaseMs);
    const onEvent = (event: SchedulerEvent): void => this.#emit(event);
    const pace = new Pace();
    this.#workLink = new Link({ connection, deadlineMs, pace, pipelined: true });
    // Not so long as others may: what it does not do the connection for work can.
    this.#completeLink = new Link({
      connection,
      deadlineMs: Math.min(deadlineMs, COMPLETE_DEADLINE_MS),
      maxDeadlineMs: deadlineMs,
      pace,
    });
    this.#heartLink = new Link({
      pace,
      // After an outage a worker has one lease length to renew what it holds.
      get maxBackoffMs() {
        return Math.min(heartbeatMs(), 5000);
      },
      connection,
      urgent: true,
      // Swallowed as a call is, and then a connection, there is time left for a third try.
      get deadlineMs() {
        return Math.min(deadlineMs, heartbeatMs() / 2, (renewDeadlineMs() - heartbeatMs()) / 3);
      },
      maxDeadlineMs: deadlineMs,
    });
    this.#client = Client.unchecked(this.#workLink);
    this.#settler = new Settler({
      client: this.#client,
      completing: Client.unchecked(this.#completeLink),
      areShort: () => this.#invocations.tempo.ahead > 0,
      idle: () => this.#heart.idle(),
      onEvent,
    });
    this.#invocations = new Invocations({
      runners: this.#runners,
      shares:
        limits.length === 0
          ? undefined
          : new Map(
              this.#shares.flatMap((share) => share.queues.map((queue) => [queue, share] as const)),
            ),
      onRoom: () => this.#wake.fire(),
      databaseNow: () => Date.now() + this.#aheadMs,
      settler: this.#settler,
      timing: this.#timing,
      releaseStuck: options.releaseStuck === true,
      onCheckpoint: (flush) => this.#heart.checkpointOffered(flush),
      onSuspectEnded: () => this.#wake.fire(),
      onEvent,
    });
    this.#heart = new Heart({
      client: Client.unchecked(this.#heartLink),
      running: this.#invocations.running,
      heartbeatMs,
      checkpointMs,
      register: () => this.#register(),
      checkDeadlines: () => this.#invocations.checkDeadlines(),
      onLost: (running, answer) => this.#invocations.heardLost(running, answer),
      onKept: (running) => this.#invocations.heardKept(running),
      onEvent: (event) => {
        if (event.type === 'job:aborted') this.#hintedBeats.earn(EARNED);
        onEvent(event);
      },
    });
    this.#listener =
      options.listenConnection === false
        ? undefined
        : new Listener({
            connection: configOf(
              'listenConnection',
              options.listenConnection ?? options.connection,
            ),
            workerId: this.workerId,
            queues: this.#queues,
            probeMs,
            deadlineMs,
            pace,
            onEvent,
            onReady: (queueId, isTold) => {
              // After a gap, which nobody can make but the server.
              if (queueId === undefined) this.#lookNow();
              if (queueId === undefined || !this.#queueIds.has(queueId)) return;
              this.#arrivals.heard();
              if (!isTold) return;
              const mayLook = this.#invocations.wanted() > 0 || this.#waiting?.mode !== 'off';
              if (mayLook && !this.#stopping.signal.aborted) this.#hintedLooks.ask();
              else this.#hintedPasses.ask();
            },
            onCancel: () => this.#hintedBeats.ask(),
          });
  }

  get #waiting(): Waiting | undefined {
    return this.#listener?.waiting;
  }

  /** How many handlers run. */
  get running(): number {
    return this.#invocations.running.size;
  }

  /**
   * Begins to work; resolves once the database has been reached, however long that takes unless
   * `startTimeoutMs` says. What it waits for is an event after each attempt, the first one soon. Rejects,
   * having begun nothing, after that time, if the schema is missing or unknown, or if none of the queues
   * exists. One that is missing beside others is named by an event, and served once it is there. Rejects, too,
   * if the module of a handler cannot be had.
   */
  async start(): Promise<void> {
    if (this.#loop !== undefined || this.#stopping.signal.aborted) {
      throw new LeaseholdError('invalid_argument', 'a scheduler starts once');
    }
    const checked = new Client(this.#workLink);
    let failure: unknown;
    const began = this.#loadHandlers().then(() =>
      this.#untilAnswered('start', async () => {
        try {
          await checked.checkSchema();
          await this.#register();
          // Asked for by name, the first of them says so.
          if (this.#queueIds.size === 0)
            await this.#client.peek(this.#queues[0] ?? '', { limit: 1 });
        } catch (error) {
          failure = error;
          throw error;
        }
        return true;
      }),
    );
    this.#loop = began.then(
      (answered) => (answered ? this.#run() : undefined),
      () => undefined,
    );
    const { startTimeoutMs } = this.#timing;
    try {
      if ((await within(began.then(Boolean), startTimeoutMs)) === undefined) {
        throw new LeaseholdError(
          'deadline_exceeded',
          `the database could not be reached within ${startTimeoutMs} ms`,
          { cause: failure },
        );
      }
    } catch (error) {
      await this.stop({ graceMs: 0 });
      throw error;
    }
  }

  /** One after the other: all modules load in one thread. */
  async #loadHandlers(): Promise<void> {
    try {
      for (const runner of this.#runners.values()) await runner.load();
    } catch (error) {
      // stop() ends threads that load.
      if (!this.#stopping.signal.aborted) throw error;
    }
  }

  /**
   * Stops leasing and lets what runs finish, with heartbeats going on. After `graceMs` (30,000 unless said;
   * 0: at once; Infinity: never) the handlers' signals fire with `shutdown`, and what they leave is released.
   * Resolves two seconds after the grace at the latest, whatever the database and the handlers do, and says
   * what it could not bring to an end. Nothing of the scheduler keeps the process alive then.
   *
   * Rejects with `invalid_argument`, having changed nothing, for a grace that is no span; else never. Calling
   * it again gives the same promise.
   */
  stop({ graceMs = DEFAULTS.graceMs }: { graceMs?: number | undefined } = {}): Promise<StopResult> {
    if (this.#stopped === undefined && !(typeof graceMs === 'number' && graceMs >= 0)) {
      return Promise.reject(
        new LeaseholdError('invalid_argument', `graceMs must be 0 or more, got ${graceMs}`),
      );
    }
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async #run(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#runs = true;
    this.#emit({ type: 'worker:started', workerId: this.workerId });
    this.#heart.start();
    void this.#listener?.run();
    this.#maintainIn(jittered(this.#timing.maintenanceMs));

    let forgetsAt = Infinity;
    while (!this.#stopping.signal.aborted) {
      if (this.#calls.length === 0) this.#ask(1);
      const [call] = this.#calls;
      if (call !== undefined) {
        if (await call.answer) {
          this.#exhausted.delete(call.share);
          // One that never runs out must not keep the others from being asked again.
          if (performance.now() >= forgetsAt) {
            this.#forgetExhausted();
            forgetsAt = performance.now() + this.#timing.pollMs;
          }
        } else {
          if (this.#exhausted.size === 0) forgetsAt = performance.now() + this.#timing.pollMs;
          this.#exhausted.add(call.share);
        }
      } else if (this.#exhausted.size > 0 && this.#invocations.wanted() > 0) {
        // The others have no room: that there is some ends this.
        await this.#waitForJobs();
        this.#forgetExhausted();
      } else if (this.#served(this.#queues).length > 0) {
        this.#forgetExhausted();
        await this.#waitForSlot();
      } else await this.#wake.wait(jittered(this.#timing.pollMs));
    }
    // What calls under way still bring is released.
    await Promise.all(this.#calls.map(({ answer }) => answer));
  }

  /** Asks for as many jobs as are wanted besides those that have come just now or are on their way. */
  #ask(mostCalls: number, arrived = 0): void {
    while (this.#calls.length < mostCalls && !this.#stopping.signal.aborted) {
      const look = this.#nextLook(arrived);
      if (look === undefined) return;
      this.#calls.push(this.#lease(look));
    }
  }

  /** The queues to ask for jobs, and how many: every turn another share comes first. */
  #nextLook(arrived = 0): Look | undefined {
    const onTheirWay = this.#calls.reduce((sum, { limit }) => sum + limit, arrived);
    const wanted = Math.min(this.#invocations.wanted(onTheirWay), this.#portion.size);
    if (wanted <= 0) return undefined;
    for (const share of this.#shares) {
      if (this.#exhausted.has(share)) continue;
      const limit = Math.min(wanted, share.room);
      const queues = limit > 0 ? this.#served(share.queues) : [];
      if (queues.length === 0) continue;
      return { share, queues, limit };
    }
    return undefined;
  }

  /** All are looked in again; but where no queue was there each look is an error in the server's log. */
  #forgetExhausted(): void {
    const at = performance.now();
    for (const share of this.#exhausted) {
      if (at >= (this.#missingUntil.get(share) ?? 0)) this.#exhausted.delete(share);
    }
  }

  async #waitForSlot(): Promise<void> {
    const { slotFreed } = this.#invocations;
    const since = performance.now();
    await slotFreed.wait(FULL_MS);
    if (this.#nextLook() === undefined && performance.now() - since >= FULL_MS) {
      this.#waiting?.off();
      await slotFreed.wait();
    }
    // Handlers that end in the same turn make room together.
    await new Promise(setImmediate);
  }

  /** Waits until it is worth looking again. */
  async #waitForJobs(): Promise<void> {
    const pollMs = jittered(this.#timing.pollMs);
    const pollAt = performance.now() + pollMs;
    const waiting = this.#waiting;
    if (waiting === undefined) return this.#wake.wait(pollMs);
    // What became ready just before was not announced: one more look.
    if (waiting.mode === 'off' && (await within(waiting.ask(), pollMs)) !== false) return;
    const isQuiet = waiting.mode === 'watching' && this.#arrivals.haveStopped;
    if (isQuiet && (await within(waiting.unwatch(), pollMs)) !== false) return;
    if (waiting.mode === 'told' && this.#comeOften && this.#watches.take()) {
      this.#arrivals.watchFor();
      // One that another does instead has cost nothing.
      if ((await within(waiting.watch(), pollMs)) === false) this.#watches.add(1);
    }
    if (waiting.mode === 'watching') return this.#wake.wait(WATCH_MS);
    // An enqueue that was under way before announces nothing: early looks for it.
    const early = EARLY_LOOKS_MS.find((ms) => waiting.mode === 'told' && waiting.toldForMs < ms);
    const leftMs = Math.min(pollAt - performance.now(), waiting.avoidsForMs ?? pollMs);
    return this.#wake.wait(early === undefined ? leftMs : early - waiting.toldForMs);
  }

  /** There may be jobs, or the database may be back. */
  #lookNow(): void {
    this.#wake.fire();
    for (const retry of this.#retries) retry.fire();
  }

  /** Commits that announce jobs wait for each other: with this many they hardly do anything else. */
  get #comeOften(): boolean {
    return this.#arrivals.gapMs < Math.max(OFTEN_MS, 2 * this.#invocations.tempo.leaseMs);
  }

  /** The queues whose handlers can be had. */
  #served(queues: readonly string[]): readonly string[] {
    const isServed = (queue: string): boolean => this.#runners.get(queue)?.available === true;
    return queues.every(isServed) ? queues : queues.filter(isServed);
  }

  /** Leases and starts jobs. Every turn another queue comes first, so that none starves the others. */
  #lease({ share, queues: served, limit }: Look): Leasing {
    const first = this.#turn++ % served.length;
    const queues = [...served.slice(first), ...served.slice(0, first)];
    const { leaseMs } = this.#timing;
    const request = { queues, workerId: this.workerId, limit, leaseMs, requestId: randomUUID() };
    const answered = this.#untilAnswered('lease', async () => {
      const sentAt = now();
      // An answer that was too large to come in time is asked for in part: the database releases the rest.
      request.limit = Math.min(request.limit, this.#portion.size);
      try {
        const leased = await leaseUnparsed(this.#workLink, request);
        this.#portion.answered();
        return { sentAt, ...leased };
      } catch (error) {
        this.#portion.failed(error, request.limit);
        const isMissing = error instanceof LeaseholdError && error.code === 'queue_not_found';
        if (!isMissing || this.#shares.length === 1) throw error;
        // None of this share is left. Other shares must not wait until one is back.
        this.#missingUntil.set(share, performance.now() + this.#timing.pollMs / 2);
        await this.#register().catch(() => undefined);
        return { sentAt, jobs: [], mayBeMore: false };
      }
    });
    share.asks(limit);
    if (this.#shares.length > 1) {
      this.#shares.push(...this.#shares.splice(this.#shares.indexOf(share), 1));
    }
    const call: Leasing = {
      share,
      limit,
      answer: answered.then((answer) => {
        this.#calls.splice(this.#calls.indexOf(call), 1);
        if (answer !== undefined) this.#begin(answer, answer.sentAt);
        share.answered(limit);
        return answer?.mayBeMore ?? false;
      }),
    };
    return call;
  }

  #begin({ jobs, mayBeMore }: Leased, sentAt: Instant): void {
    // A call that is sent behind another one waits for that.
    const at = performance.now();
    this.#invocations.tempo.leaseTook(at - Math.max(sentAt.mono, this.#answeredAt));
    this.#answeredAt = at;
    // The database looks for the next ones while these begin, unless it has found all there are.
    if (mayBeMore) this.#ask(MAX_CALLS, jobs.length);
    for (const job of jobs) this.#invocations.take(job, sentAt);
    // Of those that the scheduler names, none is shorter than another.
    if (jobs.length > 0 && this.#timing.leaseMs === undefined) this.#heart.leased();
    if (jobs.length === 0) {
      this.#arrivals.foundNone();
      return;
    }
    this.#hintedLooks.earn(EARNED);
    if (this.#waiting?.mode !== 'watching') return;
    this.#arrivals.found(jobs.length);
    this.#watches.add(1);
  }

  /**
   * Repeats a call until the database has answered. A lease_jobs call goes on, under its request id,
   * while the scheduler stops: its lost answer may have leased jobs. Undefined once the link is closed.
   */
  #untilAnswered<T>(call: 'start' | 'lease', make: () => Promise<T>): Promise<T | undefined> {
    const retry = new Signal();
    this.#retries.add(retry);
    return this.#repeat(call, make, retry).finally(() => this.#retries.delete(retry));
  }

  async #repeat<T>(
    call: 'start' | 'lease',
    make: () => Promise<T>,
    retry: Signal,
  ): Promise<T | undefined> {
    for (let tries = 0; ; tries++) {
      try {
        return await make();
      } catch (error) {
        if (error instanceof LeaseholdError && error.code === 'stopped') return undefined;
        if (call === 'start' && !isPassing(error)) throw error;
        if (error instanceof LeaseholdError && error.code === 'queue_not_found') {
          // None is left. Which they are this says, and whether one is back.
          await this.#register().catch(() => undefined);
        } else {
          this.#emit({ type: 'call:failed', call, error });
        }
        // Who cannot look must not be the one to be told.
        this.#waiting?.off();
        // What leasehold itself refuses has leased nothing; any other error may hide an answer.
        const isRefusal = error instanceof LeaseholdError && !isPassing(error);
        if (this.#stopping.signal.aborted && (call === 'start' || isRefusal)) return undefined;
        // What is refused, queues that were dropped say, may be mended by somebody: look again.
        await retry.wait(isRefusal ? jittered(this.#timing.pollMs) : backoffMs(tries));
      }
    }
  }

  /** One round of maintenance, and the next when a scheduled job is due, `maintenanceMs` later at most. */
  #maintainIn(ms: number): void {
    const { maintenanceMs } = this.#timing;
    if (maintenanceMs === 0 || this.#stopping.signal.aborted) return;
    this.#maintenance = setTimeout(async () => {
      let nextMs = jittered(maintenanceMs);
      try {
        const startedAt = performance.now();
        const { promoted, reaped, nextDueInMs, workers, failed } = await this.#client.tick();
        if (failed.length > 0) this.#emit({ type: 'maintenance:failed', tasks: failed });
        if (promoted + reaped > 0) this.#lookNow();
        // Had others been in time, there had been nothing to do: they may not tick at all.
        const share = promoted + reaped > 0 ? 1 : Math.max(1, workers / ENOUGH_TICKING);
        nextMs *= Math.min(share, MAX_SHARE);
        // Of many, a few are there the moment that a job is due. The connection is as long for other calls.
        const tookMs = performance.now() - startedAt;
        if (Math.random() * share < 1)
          nextMs = Math.min(nextMs, Math.max(nextDueInMs ?? nextMs, tookMs, 5));
      } catch (error) {
        if (!this.#stopping.signal.aborted) {
          this.#emit({ type: 'call:failed', call: 'tick', error });
        }
      }
      this.#maintainIn(nextMs);
    }, ms);
  }

  #heartbeatMs(): number {
    return this.#timing.heartbeatOf(this.#invocations.shortestLeaseMs);
  }

  async #register(): Promise<void> {
    const sentAt = Date.now();
    const { queueIds: ids, nowMs } = await Client.unchecked(this.#heartLink).announce(
      this.workerId,
      {
        queues: this.#queues,
        concurrency: this.#timing.concurrency,
        host: hostname(),
        pid: process.pid,
        clientVersion: VERSION,
        secret: this.#secret,
      },
    );
    this.#aheadMs = nowMs - (sentAt + Date.now()) / 2;
    const queueIds = new Set(ids.filter((id) => id !== undefined));
    const areNew = [...queueIds].some((id) => !this.#queueIds.has(id));
    this.#queueIds = queueIds;
    // A queue that was made anew is not the one that is waited for.
    if (areNew) {
      this.#missingUntil.clear();
      this.#waiting?.off();
      this.#lookNow();
    }
    for (const [index, queue] of this.#queues.entries()) {
      if (ids[index] !== undefined) {
        if (this.#missing.delete(queue)) this.#emit({ type: 'queue:found', queue });
      } else if (!this.#missing.has(queue)) {
        this.#missing.add(queue);
        this.#emit({ type: 'queue:missing', queue });
      }
    }
  }

  async #stop(graceMs: number): Promise<StopResult> {
    // One that never began has nothing to wait for.
    let deadline = performance.now() + (this.#runs ? graceMs : 0);
    const leftMs = (ms = 0): number => Math.max(0, deadline + ms - performance.now());
    this.#stopping.abort();
    this.#lookNow();
    // What becomes ready from here on is for others, however long the handlers take to end.
    this.#waiting?.retire();
    this.#hintedLooks.close();
    this.#invocations.stop();
    clearTimeout(this.#maintenance);

    await this.#invocations.drained(leftMs());
    // A lease_jobs call whose answer is awaited may still bring jobs, which are released.
    await within(this.#loop, leftMs());
    deadline = Math.min(deadline, performance.now());
    const [stuck] = await Promise.all([
      this.#invocations.shutDown(leftMs(HANDLERS_MS), leftMs(OUTCOMES_MS)),
      within(this.#loop, leftMs(HANDLERS_MS)),
    ]);

    this.#heart.stop();
    this.#hintedBeats.close();
    this.#hintedPasses.close();
    const closing = this.#listener?.close(leftMs(CLOSED_MS));
    if (this.#loop !== undefined) await within(this.#sayGoodbye(), leftMs(GOODBYE_MS));
    // What the last call brought all the same.
    await this.#invocations.drained(leftMs(GOODBYE_MS), (running) => !running.stuck);

    const undelivered = this.#invocations.undelivered();
    this.#settler.close();
    this.#invocations.close();
    const links = [this.#workLink, this.#completeLink, this.#heartLink];
    const closed = Promise.all([
      closing,
      ...links.map((link) => link.close(leftMs(CLOSED_MS))),
      this.#transactions.close(),
      ...[...this.#runners.values()].map((runner) => runner.close()),
    ]);
    // It may be waiting to repeat a call, which it cannot any more.
    this.#lookNow();
    await within(Promise.all([closed, this.#loop]), leftMs(CLOSED_MS));
    const error = new LeaseholdError('stopped', 'the scheduler stopped before it was delivered');
    for (const { running, outcome } of undelivered) {
      this.#emit({
        type: 'outcome:undeliverable',
        ...reference(running),
        outcome: outcome.kind,
        error,
      });
    }
    this.#emit({ type: 'worker:stopped', workerId: this.workerId });
    return {
      stuck,
      undelivered: undelivered.map(({ running, outcome }) => ({
        ...reference(running),
        outcome: outcome.kind,
      })),
    };
  }

  async #sayGoodbye(): Promise<void> {
    // A sign of life that is under way would bring the worker back.
    await this.#heart.idle();
    await this.#client.retireWorker(this.workerId, this.#secret).catch(() => false);
  }

  #runnersOf({ handlers, threads: threadOptions }: SchedulerOptions<Q>): Map<string, Runner> {
    const threads = new Threads(
      { ...threadOptions, max: threadOptions?.max ?? this.#timing.concurrency },
      this.#transactions.options,
    );
    const runners = new Map<string, Runner>();
    for (const [queue, given] of handlersOf(handlers)) {
      const transactions = this.#transactions;
      if (typeof given === 'function') runners.set(queue, new FunctionRunner(given, transactions));
      else if ('module' in given && given.module) {
        runners.set(queue, this.#inThreads(queue, given, threads));
      } else if ('handler' in given) {
        runners.set(queue, new FunctionRunner(given.handler, transactions, given));
      }
    }
    return runners;
  }

  #inThreads(queue: string, given: ModuleHandler, threads: Threads): Runner {
    return new ThreadRunner({
      module: given.module,
      threads,
      schemas: given,
      onMissing: (error) => this.#emit({ type: 'handler:missing', queue, error }),
      onFound: (wasMissing) => {
        if (wasMissing) this.#emit({ type: 'handler:found', queue });
        else this.#lookNow();
      },
      onStrayed: (job, error) => this.#emit({ type: 'job:strayed', ...job, error }),
    });
  }

  #emit(event: SchedulerEvent): void {
    if (this.#toldLast) return;
    this.#toldLast = event.type === 'worker:stopped';
    try {
      const told: unknown = this.#options.onEvent?.(event);
      if (told instanceof Promise) told.catch(() => undefined);
    } catch {
      // What an observer throws must not change what is observed.
    }
  }
}

type ModuleHandler = Extract<ReturnType<typeof handlersOf>[number][1], { module: URL }>;

function configOf(name: string, given: unknown): pg.ClientConfig {
  const connection = connectionOf(name, given);
  const config = typeof connection === 'string' ? { connectionString: connection } : connection;
  return { application_name: 'leasehold', ...config };
}

/** Waits for a promise, but so long at most: then undefined. */
async function within<T>(promise: Promise<T> | undefined, ms: number): Promise<T | undefined> {
  let timeout: NodeJS.Timeout | undefined;
  const answer = await Promise.race([
    promise,
    new Promise<undefined>((resolve) => {
      timeout = timer(() => resolve(undefined), ms);
    }),
  ]);
  clearTimeout(timeout);
  return answer;
}
