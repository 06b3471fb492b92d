import type pg from 'pg';
import { Client } from './client.ts';
import { backoffMs, jittered } from './clock.ts';
import type { SchedulerEvent } from './events.ts';
import { Link, type Pace } from './link.ts';
import { Waiting } from './waiting.ts';

/** The one channel of leasehold. What comes over it is a hint and carries no data. */
const CHANNEL = 'leasehold';

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

/** The process id that the server told the driver. A pooler tells each of its clients another, made up. */
type WithProcessId = pg.Client & { readonly processID?: number | null };

/**
 * Hears of ready jobs and cancels. It sends itself a notification every so often: one that does not
 * come back on a connection that answers means that none ever will, and no answer means that the
 * connection is dead although nothing said so.
 */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #link: Link;
  /** How this process waits for jobs. */
  readonly waiting: Waiting;
  #closed = false;
  /** The server's process of this connection; undefined: none, or a pooler may lend it to others. */
  #backendPid: number | undefined;
  /** When a notification was last received on this connection: until then none may ever come. */
  #heardAt: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #wakeUp: (() => void) | undefined;
  #heardProbe: (() => void) | undefined;
  #deaf = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#link = new Link({
      connection: options.connection,
      deadlineMs: options.deadlineMs,
      pace: options.pace,
      onConnect: (connection) => this.#listen(connection),
      onLost: (error) => {
        this.#backendPid = undefined;
        this.#heardAt = undefined;
        this.waiting.lost();
        options.onEvent({ type: 'listener:lost', error });
        this.#wakeUp?.();
      },
    });
    this.waiting = new Waiting({
      client: Client.unchecked(this.#link),
      queues: options.queues,
      backendPid: () => (this.#heardAt === undefined ? undefined : this.#backendPid),
      giveUp: (error) => this.#link.drop(error),
    });
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
    this.waiting.close();
    this.#wakeUp?.();
    this.#heardProbe?.();
    await this.#link.close(withinMs);
  }

  async #listen(connection: WithProcessId): Promise<void> {
    const { rows } = await connection.query(
      'select pg_catalog.pg_backend_pid()::pg_catalog.text as pid',
    );
    // What a session of a pooler is told, or holds, outlasts this process.
    if (Number(rows[0]?.pid) !== connection.processID) return;
    this.#backendPid = connection.processID;
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
    // From now on it can wait to be told.
    if (isFirst) this.#options.onReady(undefined, true);

    const [kind, id, bucket] = payload.split(':');
    if (kind === 'ready') {
      const isTold = bucket === undefined || Number(bucket) === this.waiting.bucket;
      this.#options.onReady(Number(id), isTold);
    } else if (id !== this.#options.workerId) return;
    else if (kind === 'cancel') this.#options.onCancel();
    else if (kind === 'probe') this.#heardProbe?.();
  }

  async #probe(): Promise<void> {
    const deaf = !(this.#backendPid !== undefined && (await this.#hearsItself())) && !this.#closed;
    if (deaf && !this.#deaf) this.#options.onEvent({ type: 'listener:deaf' });
    this.#deaf = deaf;
    if (!deaf || this.#heardAt === undefined) return;
    // What the session holds ends with it: nobody else is told, or looks, while it is held.
    const error = new Error('notifications do not arrive any more');
    await this.#link.drop(error);
    throw error;
  }

  async #hearsItself(): Promise<boolean> {
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
      return await heard;
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
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wakeUp = () => {
        clearTimeout(this.#timer);
        resolve();
      };
      this.#timer = setTimeout(resolve, ms);
    });
  }
}
