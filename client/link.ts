import { createHash } from 'node:crypto';
import { Socket } from 'node:net';
import pg from 'pg';
import type { Queryable } from './client.ts';
import { backoffMs } from './clock.ts';
import { isOfServer, LeaseholdError, SQLSTATES, sqlstateOf } from './errors.ts';
import { BEGIN } from './statement.ts';

/** Longest time the first attempt to connect may take. */
const CONNECT_MS = 2000;

export interface LinkOptions {
  readonly connection: pg.ClientConfig;
  /** Longest time one call may take, connecting included; and one attempt to connect, the first 2 s at most. */
  readonly deadlineMs: number;
  /**
   * Where both end: each doubles with every call in a row, or attempt, that took too long. Else a busy server
   * would be asked for ever new connections, each slow to answer at first, and never be heard in time.
   * @default deadlineMs
   */
  readonly maxDeadlineMs?: number;
  /** Longest delay before another attempt to connect. @default 5_000 */
  readonly maxBackoffMs?: number;
  /** Shared by all links of a process, so that together they do not storm a server that is down. */
  readonly pace?: Pace;
  /** Whether it takes its turns before the other links of the process. @default false */
  readonly urgent?: boolean;
  /** Whether a call is sent while earlier ones are under way; they are answered in turn. @default false */
  readonly pipelined?: boolean;
  /** Called on every new connection before anything else is sent. */
  readonly onConnect?: (connection: pg.Client) => Promise<void>;
  /** Called when a connection that was in use has ended, whatever the reason. */
  readonly onLost?: (error: Error) => void;
}

/**
 * One connection to the database that is there again after it was lost. Every call has a deadline;
 * a connection on which one was missed is destroyed and never used again, since its answer may
 * still come. So is one to a server that cannot write: the name may lead to another by now.
 * Calls are not repeated here: only the caller knows what to repeat.
 */
export class Link implements Queryable {
  readonly #options: LinkOptions;
  #connection: Promise<Connection> | undefined;
  #prepares = true;
  /** Whether calls have transactions of their own, since those that the server begins are not READ COMMITTED. */
  #begins = false;
  /** Calls in a row that missed their deadline. */
  #misses = 0;
  /** Failed attempts to connect since the last answer, and those that led to a server of no use. */
  #failures = 0;
  #retryAt = 0;
  readonly #closing = new AbortController();
  /** Resolves when the call before has ended, however it did. */
  #last: Promise<unknown> = Promise.resolve();
  /**
   * Resolves when its answer has been seen to its end. Answers that come in one packet are told one
   * after the other: the lease of a job, say, and that its outcome under the lease before is refused.
   */
  #seen: Promise<unknown> = Promise.resolve();

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** Rejects with `deadline_exceeded`, `stopped`, or the driver's error. */
  query(text: string, values: unknown[] = []): Promise<pg.QueryResult> {
    return this.#call({ text, values });
  }

  /** The same for many rows: arrays of text, whatever type parsers the application has set. */
  async rows(text: string, values: unknown[]): Promise<(string | null)[][]> {
    const answer = await this.#call({ text, values, rowMode: 'array', types: AS_TEXT });
    return answer.rows;
  }

  #call(query: Query): Promise<pg.QueryResult> {
    const call = (turn?: Promise<unknown>): Promise<pg.QueryResult> =>
      this.#withDeadline(async (connection) => {
        try {
          return await this.#run(connection.client, query);
        } catch (error) {
          if (isOfServer(error)) this.#leave(connection, error as Error);
          throw error;
        }
      }, turn);
    // Each has its own deadline, so none waits longer than those before it may take.
    const answer =
      this.#options.pipelined === true ? call(this.#last) : this.#last.then(() => call());
    const before = this.#seen;
    this.#last = answer.catch(() => undefined);
    this.#seen = Promise.all([this.#last, before]).then(() => new Promise(setImmediate));
    return before.then(() => answer);
  }

  /**
   * Statements are prepared once a connection, which saves the server a third of a call. Where a pooler in
   * between gives every call another server, that fails before anything was done, and is done no more.
   *
   * Where the database or the role has another default isolation, the first call that minds is refused, and
   * from then on each begins its own transaction. That holds through a pooler, and changes no session of others.
   */
  async #run(client: pg.Client, query: Query): Promise<pg.QueryResult> {
    const [prepares, begins] = [this.#prepares, this.#begins];
    const named = prepares ? { ...query, name: nameOf(query.text) } : query;
    try {
      return await (begins ? this.#inTransaction(client, named) : client.query(named));
    } catch (error) {
      const state = sqlstateOf(error) ?? '';
      if (prepares && UNPREPARED.includes(state)) this.#prepares = false;
      else if (!begins && state === SQLSTATES.isolation_not_supported) this.#begins = true;
      else throw error;
      return this.#run(client, query);
    }
  }

  async #inTransaction(client: pg.Client, query: Query): Promise<pg.QueryResult> {
    const queries = [{ text: BEGIN }, query, { text: 'commit' }];
    const answers: PromiseSettledResult<pg.QueryResult>[] = [];
    if (this.#options.pipelined === true) {
      // All leave together: another call would come between.
      answers.push(...(await Promise.allSettled(queries.map((each) => client.query(each)))));
    } else {
      for (const each of queries) answers.push(...(await Promise.allSettled([client.query(each)])));
    }
    // After a call that failed the commit is a rollback.
    for (const answer of answers) if (answer.status === 'rejected') throw answer.reason;
    return (answers[1] as PromiseFulfilledResult<pg.QueryResult>).value;
  }

  /** Its server is of no use: the next call connects anew, after a while. */
  #leave(connection: Connection, error: Error): void {
    // Of calls that were sent together the first one counts.
    if (connection.ended) return;
    this.#connectIn();
    connection.destroy(error);
  }

  #connectIn(): void {
    this.#retryAt =
      performance.now() + backoffMs(this.#failures++, 100, this.#options.maxBackoffMs);
  }

  /** Connects if there is no connection. */
  async connect(): Promise<void> {
    await this.#withDeadline(async () => undefined);
  }

  /** Drops the connection, with all that its session holds; the next call goes over a new one. */
  async drop(error: Error): Promise<void> {
    const connection = await this.#connection?.catch(() => undefined);
    connection?.destroy(error);
  }

  /** Ends the connection, by force after a while; calls under way and later ones reject. Never rejects. */
  async close(withinMs = 1000): Promise<void> {
    this.#closing.abort();
    const connection = await this.#connection?.catch(() => undefined);
    await connection?.end(withinMs);
  }

  /** The clock of a call starts when those before it have been answered. */
  async #withDeadline<T>(
    use: (connection: Connection) => Promise<T>,
    turn: Promise<unknown> = Promise.resolve(),
  ): Promise<T> {
    let connection: Connection | undefined;
    let timer: NodeJS.Timeout | undefined;
    let missed: LeaseholdError | undefined;
    let answered = false;
    const { deadlineMs, maxDeadlineMs = deadlineMs } = this.#options;
    const ms = Math.min(deadlineMs * 2 ** this.#misses, maxDeadlineMs);
    const deadline = new Promise<never>((_, reject) => {
      const miss = (): void => {
        missed = new LeaseholdError(
          'deadline_exceeded',
          `the database did not answer within ${ms} ms`,
        );
        this.#misses++;
        connection?.destroy(missed);
        reject(missed);
      };
      void turn.then(() => {
        if (!answered) timer = setTimeout(miss, ms);
      });
    });
    const work = async (): Promise<T> => {
      connection = await this.#connected();
      // The caller has been told that it failed: the connection is for the next call.
      if (missed !== undefined) throw missed;
      return use(connection);
    };
    try {
      const answer = await Promise.race([work(), deadline]);
      this.#misses = 0;
      this.#failures = 0;
      return answer;
    } catch (error) {
      throw this.#closing.signal.aborted ? stopped(error) : error;
    } finally {
      answered = true;
      clearTimeout(timer);
    }
  }

  #connected(): Promise<Connection> {
    if (this.#closing.signal.aborted) return Promise.reject(stopped());
    this.#connection ??= this.#open().catch((error: unknown) => {
      this.#connection = undefined;
      throw error;
    });
    return this.#connection;
  }

  async #open(): Promise<Connection> {
    await this.#pause();
    if (this.#closing.signal.aborted) throw stopped();

    const { connection: config, deadlineMs, maxDeadlineMs = deadlineMs } = this.#options;
    const ms = Math.min(Math.min(deadlineMs, CONNECT_MS) * 2 ** this.#failures, maxDeadlineMs);
    const connection = new Connection(
      { ...config, pipeline: this.#options.pipelined === true },
      ms,
    );
    const onLost = (error: Error) => {
      this.#connection = undefined;
      if (!this.#closing.signal.aborted) this.#options.onLost?.(error);
    };
    const giveUp = () => connection.destroy(new Error('the server accepts but does not answer'));
    const timer = setTimeout(giveUp, ms);
    this.#closing.signal.addEventListener('abort', giveUp);
    try {
      await connection.client.connect();
      await this.#options.onConnect?.(connection.client);
    } catch (error) {
      connection.destroy(error as Error);
      this.#connectIn();
      throw error;
    } finally {
      clearTimeout(timer);
      this.#closing.signal.removeEventListener('abort', giveUp);
    }
    connection.onEnd(onLost);
    return connection;
  }

  /** Waits out what is left of the backoff, then for a turn among the links of the process. */
  async #pause(): Promise<void> {
    if (this.#failures === 0) return;
    await this.#sleep(this.#retryAt - performance.now());
    await this.#sleep(this.#options.pace?.take(this.#options.urgent) ?? 0);
  }

  #sleep(ms: number): Promise<void> {
    if (ms <= 0 || this.#closing.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#closing.signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#closing.signal.addEventListener('abort', done);
    });
  }
}

/** As the driver takes it. */
type Query = pg.QueryConfig & { readonly rowMode?: 'array' };

const AS_TEXT = {
  getTypeParser: () => (value: string) => value,
} as unknown as pg.CustomTypesConfig;

/** The prepared statement is not there, is there already, or answers another type since the schema changed. */
const UNPREPARED: readonly string[] = ['26000', '42P05', '0A000'];

/** Of the text alone: whatever session a pooler gives, a name stands for one statement. */
function nameOf(text: string): string {
  let name = names.get(text);
  if (name === undefined) {
    name = `leasehold_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
    names.set(text, name);
  }
  return name;
}

const names = new Map<string, string>();

/** Keeps half a second between attempts to connect again. */
export class Pace {
  #freeAt = 0;
  #urgentFreeAt = 0;

  /** Takes the next turn; answers the time until then. One that is urgent goes first, but not twice in a row. */
  take(isUrgent = false): number {
    const at = performance.now();
    const turn = Math.max(at, isUrgent ? this.#urgentFreeAt : this.#freeAt);
    if (isUrgent) this.#urgentFreeAt = turn + 1000;
    this.#freeAt = Math.max(turn, this.#freeAt) + 500;
    return turn - at;
  }
}

/** A pg client and its socket, which is all that is left to end when the server does not answer. */
class Connection {
  readonly client: pg.Client;
  readonly #socket = new Socket();
  #ended: Error | undefined;
  #onEnd: ((error: Error) => void) | undefined;

  constructor(config: pg.ClientConfig, connectTimeoutMs: number) {
    this.client = new pg.Client({
      keepAlive: true,
      connectionTimeoutMillis: connectTimeoutMs,
      ...config,
      stream: () => this.#socket,
    });
    // Without a listener an error on an idle connection would end the process.
    this.client.on('error', (error) => this.#end(error));
    this.client.on('end', () => this.#end(new Error('the connection was closed')));
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  onEnd(callback: (error: Error) => void): void {
    this.#onEnd = callback;
    if (this.#ended !== undefined) callback(this.#ended);
  }

  /** Drops the socket at once; what is under way on it rejects. */
  destroy(error: Error): void {
    this.#end(error);
    this.#socket.destroy();
  }

  /** Says goodbye, and drops the socket if that does not work in time. */
  async end(withinMs: number): Promise<void> {
    if (this.#ended === undefined) {
      this.#ended = new Error('the connection was ended');
      const timer = setTimeout(() => this.#socket.destroy(), withinMs);
      await this.client.end().catch(() => undefined);
      clearTimeout(timer);
    }
    this.#socket.destroy();
  }

  #end(error: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#onEnd?.(error);
  }
}

function stopped(cause?: unknown): LeaseholdError {
  return new LeaseholdError('stopped', 'the scheduler has stopped', { cause });
}
