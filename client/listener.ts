import type pg from 'pg';
import { Client } from './client.ts';
import { backoffMs, jittered } from './clock.ts';
import type { SchedulerEvent } from './events.ts';
import { Link, type Pace } from './link.ts';

/** The one channel of leasehold. What comes over it is a hint and carries no data. */
const CHANNEL = 'leasehold';

export interface ListenerOptions {
  readonly connection: pg.ClientConfig;
  readonly workerId: string;
  readonly queues: readonly string[];
  readonly probeMs: number;
  readonly deadlineMs: number;
  readonly pace: Pace;
  readonly onEvent: (event: SchedulerEvent) => void;
  /** Jobs may be ready: of the queue of this id; undefined, after a gap: of any. */
  readonly onReady: (queueId: number | undefined) => void;
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
  #listening = false;
  #timer: NodeJS.Timeout | undefined;
  #wakeUp: (() => void) | undefined;
  #heardProbe: (() => void) | undefined;
  #deaf = false;
  readonly #client: Client;
  /** Since when the database tells of ready jobs; undefined: it does not. */
  #dozingSince: number | undefined;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#link = new Link({
      connection: options.connection,
      deadlineMs: options.deadlineMs,
      pace: options.pace,
      onConnect: (connection) => this.#listen(connection),
      onLost: (error) => {
        this.#listening = false;
        this.#dozingSince = undefined;
        options.onEvent({ type: 'listener:lost', error });
        this.#wakeUp?.();
      },
    });
    this.#client = Client.unchecked(this.#link);
  }

  /** For how long this process has been dozing; undefined: it is awake, or cannot doze. */
  get dozingForMs(): number | undefined {
    return this.#dozingSince === undefined ? undefined : performance.now() - this.#dozingSince;
  }

  /**
   * Asks to be told of ready jobs. True where that is new: what became ready just before was not
   * announced, so one more look is needed. Never rejects.
   */
  async doze(): Promise<boolean> {
    if (this.#dozingSince !== undefined || !this.#listening || this.#closed) return false;
    this.#dozingSince = performance.now();
    return this.#client.doze(this.#options.queues).then(
      () => true,
      () => {
        this.#dozingSince = undefined;
        return false;
      },
    );
  }

  /** Asks not to be told any more. */
  rise(): void {
    if (this.#dozingSince === undefined) return;
    this.#dozingSince = undefined;
    // If it fails the connection is lost, and the doze with it.
    this.#client.rise(this.#options.queues).catch(() => undefined);
  }

  /** Listens until close(). Never rejects. */
  async run(): Promise<void> {
    for (let failures = 0; !this.#closed; ) {
      try {
        await this.#link.connect();
        await this.#probe();
        failures = 0;
        await this.#rest(jittered(this.#options.probeMs));
      } catch (error) {
        if (this.#closed) return;
        this.#options.onEvent({ type: 'call:failed', call: 'listen', error });
        await this.#rest(backoffMs(failures++));
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wakeUp?.();
    this.#heardProbe?.();
    await this.#link.close();
  }

  async #listen(connection: pg.Client): Promise<void> {
    connection.on('notification', ({ payload }) => this.#receive(payload ?? ''));
    await connection.query(`listen ${CHANNEL}`);
    this.#listening = true;
    this.#options.onEvent({ type: 'listener:connected' });
    // What was announced while nobody listened is found by looking.
    this.#options.onReady(undefined);
    this.#options.onCancel();
  }

  #receive(payload: string): void {
    const [kind, id] = payload.split(':');
    if (kind === 'ready') this.#options.onReady(Number(id));
    else if (id !== this.#options.workerId) return;
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
      await this.#link.query('select pg_notify($1, $2)', [
        CHANNEL,
        `probe:${this.#options.workerId}`,
      ]);
      const deaf = !(await heard) && !this.#closed;
      if (deaf && !this.#deaf) this.#options.onEvent({ type: 'listener:deaf' });
      this.#deaf = deaf;
    } finally {
      clearTimeout(timer);
      this.#heardProbe = undefined;
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
