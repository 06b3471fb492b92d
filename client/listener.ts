import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { Client } from './client.ts';
import { backoffMs, jittered } from './clock.ts';
import { sqlstateOf } from './errors.ts';
import type { SchedulerEvent } from './events.ts';
import { Link, type Pace } from './link.ts';

/** The one channel of leasehold. What comes over it is a hint and carries no data. */
const CHANNEL = 'leasehold';

/** How soon after it rose a session lets others be told once more. */
const PASS_ON_MS = 50;

/** How soon to look again, and ask again, where somebody was in the way of a doze. */
const IN_THE_WAY_MS = 25;

/** Shortest, and longest, time without dozing after the server has failed a call that dozes, watches or ends it. */
const MIN_AVOID_MS = 1000;
const MAX_AVOID_MS = 60_000;

/** The server asks a silent client whether it is there: after half a minute, and three times. */
const SET_KEEPALIVE = `select pg_catalog.set_config(name, value, false) from (values
  ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
  ('tcp_user_timeout', '60000')) as setting (name, value)`;

export interface ListenerOptions {
  readonly connection: pg.ClientConfig;
  readonly workerId: string;
  readonly queues: readonly string[];
  readonly probeMs: number;
  readonly deadlineMs: number;
  readonly pace: Pace;
  readonly onEvent: (event: SchedulerEvent) => void;
  /** Jobs of the queue of this id may be ready; undefined, after a gap: of any. Whether it is this process that is told. */
  readonly onReady: (queueId: number | undefined, isTold: boolean) => void;
  /** Somebody asked for a cancel of a job that this worker holds. */
  readonly onCancel: () => void;
}

/**
 * Hears of ready jobs and cancels. It sends itself a notification every so often: one that does not
 * come back on a connection that answers means that none ever will (a transaction pooler), and no
 * answer means that the connection is dead although nothing said so.
 */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #link: Link;
  #closed = false;
  /** When a notification was last received on this connection: until then none may ever come. */
  #heardAt: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #wakeUp: (() => void) | undefined;
  #heardProbe: (() => void) | undefined;
  #deaf = false;
  readonly #client: Client;
  /** The bucket under which the database tells of ready jobs; undefined: it does not. */
  #bucket: number | undefined;
  #watching = false;
  /** A call that dozes or watches is under way. */
  #asking = false;
  /** Somebody wanted to rise meanwhile. */
  #rose = false;
  #refusals = 0;
  #avoidUntil = 0;
  #passing: Promise<void> | undefined;
  /** The last call that rises or passes on. */
  #sent: Promise<void> = Promise.resolve();
  #retired = false;
  #passingOn: NodeJS.Timeout | undefined;
  /** Since when what becomes ready is announced. */
  #toldSince = Infinity;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#link = new Link({
      connection: options.connection,
      deadlineMs: options.deadlineMs,
      pace: options.pace,
      onConnect: (connection) => this.#listen(connection),
      onLost: (error) => {
        this.#heardAt = undefined;
        this.#bucket = undefined;
        this.#watching = false;
        options.onEvent({ type: 'listener:lost', error });
        this.#wakeUp?.();
      },
    });
    this.#client = Client.unchecked(this.#link);
  }

  /** Whether the database tells this process of ready jobs. */
  get dozing(): boolean {
    return this.#bucket !== undefined;
  }

  /** Whether this process looks for jobs all the time, so that nobody is told of any. */
  get watching(): boolean {
    return this.#watching;
  }

  /** For how long what becomes ready has been announced; none, if it is not. */
  get toldForMs(): number {
    return this.dozing && !this.#watching ? performance.now() - this.#toldSince : 0;
  }

  /** Time until it may ask to be told again, where the server has failed such a call. */
  get avoidsForMs(): number | undefined {
    const ms = this.#avoidUntil - performance.now();
    return ms > 0 ? ms : undefined;
  }

  /**
   * Asks to be told of ready jobs. True where one more look is needed: that is new, and what became ready
   * just before was not announced; or somebody was in the way. Never rejects.
   */
  async doze(): Promise<boolean> {
    if (this.dozing || this.#heardAt === undefined || this.#asking || this.#retired) return false;
    if (this.avoidsForMs !== undefined) return false;
    clearTimeout(this.#passingOn);
    this.#asking = true;
    this.#rose = false;
    const bucket = await this.#held(this.#client.doze(this.#options.queues));
    this.#asking = false;
    if (bucket === undefined) return false;
    if (bucket === null) {
      await sleep(IN_THE_WAY_MS);
      return true;
    }
    this.#refusals = 0;
    if (this.#heardAt === undefined || this.#retired || this.#rose) {
      // It went over a new connection, or this one is deaf by now; or nobody wants it any more.
      this.#endDoze();
      return false;
    }
    this.#bucket = bucket;
    this.#toldSince = performance.now();
    return true;
  }

  /** Has nobody told of ready jobs, since this process looks all the time. False: another one does. */
  async watch(): Promise<boolean> {
    if (!this.dozing || this.#asking) return false;
    this.#asking = true;
    const watching = (await this.#held(this.#client.watch(this.#options.queues))) === true;
    this.#asking = false;
    this.#watching = watching && this.dozing;
    if (!this.dozing) {
      // It rose meanwhile, or the connection is another.
      if (watching) void this.#held(this.#client.unwatch(this.#options.queues));
      this.passOn();
    }
    return this.#watching;
  }

  /** What becomes ready is announced again; what became ready before was not. */
  async unwatch(): Promise<void> {
    if (!this.#watching) return;
    this.#watching = false;
    this.#toldSince = performance.now();
    await this.#held(this.#client.unwatch(this.#options.queues));
  }

  /** Asks not to be told any more; what is ready is announced to others. */
  rise(): void {
    this.#rose = true;
    if (!this.dozing) return;
    void this.unwatch();
    this.#bucket = undefined;
    this.#endDoze();
  }

  /** Asks never to be told again. */
  retire(): void {
    this.#retired = true;
    this.rise();
  }

  /** Has others told of what was announced to this process. */
  passOn(): void {
    if (this.#closed || this.dozing) return;
    // One that waits to be sent speaks for all that was announced until then.
    this.#passing ??= Promise.resolve().then(async () => {
      await this.#sent;
      this.#passing = undefined;
      await this.#rise(false);
    });
  }

  /** Ends the doze, and passes on once more for an enqueue under way that has seen this session doze, or watch. */
  #endDoze(): void {
    if (this.#closed) return;
    void this.#rise(true);
    clearTimeout(this.#passingOn);
    this.#passingOn = setTimeout(() => this.passOn(), PASS_ON_MS);
  }

  #rise(dozed: boolean): Promise<void> {
    const call = this.#client.rise(this.#options.queues, { dozed });
    this.#sent = dozed ? this.#held(call) : call.catch(() => undefined);
    return this.#sent;
  }

  /**
   * A session keeps its locks where the server fails a call, so nobody knows then which it holds: its
   * connection is dropped, and polling has to do for a while. Undefined where the call failed.
   */
  async #held<T>(call: Promise<T>): Promise<T | undefined> {
    try {
      return await call;
    } catch (error) {
      // Without a SQLSTATE, or with one that says that the session has ended, there is nothing to drop.
      if (!(sqlstateOf(error) ?? '57P').startsWith('57P')) {
        this.#avoidUntil =
          performance.now() + backoffMs(this.#refusals++, 4 * MIN_AVOID_MS, MAX_AVOID_MS);
        await this.#link.drop(error as Error);
      }
      return undefined;
    }
  }

  /** Listens until close(). Never rejects. */
  async run(): Promise<void> {
    for (let failures = 0; !this.#closed; ) {
      try {
        await this.#link.connect();
        await this.#probe();
        failures = 0;
        await this.#restWhileHearing();
      } catch (error) {
        if (this.#closed) return;
        this.#options.onEvent({ type: 'call:failed', call: 'listen', error });
        await this.#rest(backoffMs(failures++));
      }
    }
  }

  async close(withinMs: number): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#passingOn);
    this.#wakeUp?.();
    this.#heardProbe?.();
    await this.#link.close(withinMs);
  }

  async #listen(connection: pg.Client): Promise<void> {
    connection.on('notification', ({ payload }) => this.#receive(payload ?? ''));
    await connection.query(`listen ${CHANNEL}`);
    // What vanishes without a word must not be the one to be told, or to watch, for long.
    await connection.query(SET_KEEPALIVE).catch(() => undefined);
    this.#options.onEvent({ type: 'listener:connected' });
    // What was announced while nobody listened is found by looking.
    this.#options.onReady(undefined, true);
    this.#options.onCancel();
  }

  #receive(payload: string): void {
    const isFirst = this.#heardAt === undefined;
    this.#heardAt = performance.now();
    // From now on it can doze.
    if (isFirst) this.#options.onReady(undefined, true);

    const [kind, id, bucket] = payload.split(':');
    if (kind === 'ready') {
      const isTold = bucket === undefined || Number(bucket) === this.#bucket;
      this.#options.onReady(Number(id), isTold);
    } else if (id !== this.#options.workerId) return;
    else if (kind === 'cancel') this.#options.onCancel();
    else if (kind === 'probe') this.#heardProbe?.();
  }

  async #probe(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const heard = new Promise<boolean>((resolve) => {
      this.#heardProbe = () => resolve(true);
      timer = setTimeout(() => resolve(false), this.#options.deadlineMs);
    });
    try {
      await this.#link.query('select pg_catalog.pg_notify($1, $2)', [
        CHANNEL,
        `probe:${this.#options.workerId}`,
      ]);
      const deaf = !(await heard) && !this.#closed;
      if (deaf) this.#heardAt = undefined;
      if (deaf && !this.#deaf) this.#options.onEvent({ type: 'listener:deaf' });
      this.#deaf = deaf;
    } finally {
      clearTimeout(timer);
      this.#heardProbe = undefined;
    }
  }

  /** Rests until nothing was heard for a time: whatever is heard, the probes of others too, shows that all is well. */
  async #restWhileHearing(): Promise<void> {
    const probeMs = jittered(this.#options.probeMs);
    await this.#rest(probeMs);
    while (this.#heardAt !== undefined && !this.#closed) {
      const leftMs = this.#heardAt + probeMs - performance.now();
      if (leftMs < 5) return;
      await this.#rest(leftMs);
    }
  }

  #rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeUp = () => {
        clearTimeout(this.#timer);
        resolve();
      };
      this.#timer = setTimeout(resolve, ms);
    });
  }
}
