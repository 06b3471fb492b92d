import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { Client } from './client.ts';
import { backoffMs } from './clock.ts';
import { LeaseholdError, sqlstateOf } from './errors.ts';
import { describeResult, type JsonText } from './json.ts';
import { toResult } from './runner.ts';
import { deadLetter, EFFECTS_NOT_COMMITTED, hasCompleted, type Outcome } from './running.ts';
import { BEGIN } from './statement.ts';
import type { Lease, Settlement } from './types.ts';

export interface TransactionOptions {
  readonly connection: pg.ClientConfig;
  /** Most transactions at once; others wait. */
  readonly max: number;
  /** Longest time connecting may take. */
  readonly connectTimeoutMs: number;
}

/** A job whose handler runs, here or in a thread. */
export interface Holder {
  readonly job: Lease;
  readonly signal: AbortSignal;
  readonly isCertain: boolean;
  /** What the handler said of its end before it came to it. */
  declared: Outcome | undefined;
  /** Whether a return only confirms. */
  completedIn: boolean;
  /** Ends the transaction that is open, by force. */
  endTransaction: (() => void) | undefined;
  /** A transaction has committed, and completed the job. */
  completed(settlement: Settlement): void;
}

/** The transactions of ctx.transaction. Opens no connection before a handler asks for one. */
export class Transactions {
  readonly options: TransactionOptions;
  #pool: Promise<pg.Pool> | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #open = new Set<Holder>();
  #closed = false;

  constructor(options: TransactionOptions) {
    this.options = options;
  }

  /** Resolves to what `work` resolved to, once that is committed as the job's result. */
  async run<R>(holder: Holder, work: (transaction: pg.ClientBase) => Promise<R>): Promise<R> {
    if (this.#open.has(holder)) {
      throw new LeaseholdError('invalid_argument', 'a transaction of this job is open already');
    }
    const before = holder.completedIn;
    holder.completedIn = true;
    this.#open.add(holder);
    try {
      return await this.#run(holder, work);
    } catch (error) {
      if (error instanceof InDoubt) throw error.cause;
      // Nothing of it is there: the handler may go on as if it had not been.
      holder.completedIn = before;
      throw error;
    } finally {
      this.#open.delete(holder);
    }
  }

  /** Ends every connection; the transactions that are open with them. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    const pool = await this.#pool?.catch(() => undefined);
    if (pool === undefined) return;
    const ended = pool.end();
    for (const holder of this.#open) holder.endTransaction?.();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, 500);
    await ended.catch(() => undefined);
    clearTimeout(timer);
  }

  async #run<R>(holder: Holder, work: (transaction: pg.ClientBase) => Promise<R>): Promise<R> {
    const lease = { jobId: holder.job.jobId, token: holder.job.token };
    const connection = await this.#connect(holder.signal);
    const release = (destroy: boolean): void => {
      if (holder.endTransaction === undefined) return;
      holder.endTransaction = undefined;
      connection.release(destroy);
    };
    holder.endTransaction = () => release(true);

    let result: R;
    let settlement: Settlement;
    try {
      await connection.query(BEGIN);
      const client = Client.unchecked(connection);
      await client.assertLease(lease.jobId, lease.token);
      result = await work(connection);
      requireOpen(connection);
      settlement = await client
        .complete(lease.jobId, lease.token, document(holder, result))
        .catch((error: unknown) => {
          // The driver rejects a statement before it hears that the transaction has failed with it.
          throw sqlstateOf(error) === '25P02' ? notCommitted('a statement of it failed') : error;
        });
    } catch (error) {
      const isOver = await connection.query('rollback').then(
        () => true,
        () => false,
      );
      release(!isOver);
      throw error;
    }

    try {
      const { command } = await connection.query('commit');
      release(false);
      if (command !== 'COMMIT') throw notCommitted('a statement of it failed');
    } catch (error) {
      release(true);
      const committed = isNotCommitted(error) ? false : await this.#hasCommitted(holder, lease);
      if (committed === undefined) throw new InDoubt(error);
      if (!committed) throw error;
    }
    holder.completed(settlement);
    return result;
  }

  async #connect(signal: AbortSignal): Promise<pg.PoolClient> {
    signal.throwIfAborted();
    const pool = await this.#opened();
    return new Promise((resolve, reject) => {
      const connecting = pool.connect();
      const giveUp = (): void => {
        reject(signal.reason);
        // One that comes all the same is for others.
        connecting.then(
          (connection) => connection.release(),
          () => undefined,
        );
      };
      signal.addEventListener('abort', giveUp, { once: true });
      connecting.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
    });
  }

  #opened(): Promise<pg.Pool> {
    if (this.#closed) {
      return Promise.reject(new LeaseholdError('stopped', 'the scheduler has stopped'));
    }
    this.#pool ??= this.#make();
    return this.#pool;
  }

  async #make(): Promise<pg.Pool> {
    // Threads load this module, and few of them ever open a transaction.
    const { default: pg } = await import('pg');
    const sockets = this.#sockets;
    const { connection, max, connectTimeoutMs } = this.options;
    // The pool's own timeout would end the wait for a connection that others use.
    class Connection extends pg.Client {
      constructor(config: pg.ClientConfig = {}) {
        const socket = new Socket();
        super({
          keepAlive: true,
          connectionTimeoutMillis: connectTimeoutMs,
          ...config,
          stream: () => socket,
        });
        sockets.add(socket);
        socket.once('close', () => sockets.delete(socket));
        // Without a listener an error between two statements would end the process.
        this.on('error', () => undefined);
      }
    }
    const pool = new pg.Pool({ ...connection, max, Client: Connection });
    pool.on('error', () => undefined);
    return pool;
  }

  /** Asks the database at READ COMMITTED, whatever isolation its transactions begin with, until the signal fires. */
  async #ask<T>(signal: AbortSignal, question: (client: Client) => Promise<T>): Promise<T> {
    const connection = await this.#connect(signal);
    const asking = async (): Promise<T> => {
      await connection.query(BEGIN);
      const answer = await question(Client.unchecked(connection));
      await connection.query('commit');
      return answer;
    };
    let isOver = false;
    try {
      const answer = await unlessAborted(asking(), signal);
      isOver = true;
      return answer;
    } finally {
      connection.release(!isOver);
    }
  }

  /**
   * Whether a transaction whose commit was not answered has completed the job. Undefined: the handler has to
   * stop before the database has told. No call of these can complete the job.
   */
  async #hasCommitted(holder: Holder, lease: Lease): Promise<boolean | undefined> {
    const { signal } = holder;
    for (let tries = 0; !signal.aborted && !this.#closed; tries++) {
      try {
        const [answer] = await this.#ask(signal, (client) => client.heartbeatMany([lease]));
        if (answer?.status === 'ok' || answer?.status === 'revived') return false;
        if (answer?.status === 'lost') {
          const failure = { ...lease, error: EFFECTS_NOT_COMMITTED.error };
          const [settlement] = await this.#ask(signal, (client) => client.failMany([failure]));
          if (settlement !== undefined && hasCompleted(holder, settlement)) return true;
          const status: string | undefined = settlement?.status;
          // Erased by this transaction or, since the lease may be lost, by another worker: nobody knows.
          if (status === 'job_not_found') return undefined;
          // A row that is held is asked about again. Any other answer tells that it has not.
          if (status !== undefined && status !== 'busy') return false;
        }
      } catch {
        // The database is away, or the signal fired.
      }
      await sleep(backoffMs(tries), undefined, { signal }).catch(() => undefined);
    }
    return undefined;
  }
}

/** A result that cannot be stored gives the job up: another attempt would only do the work again. */
function document(holder: Holder, result: unknown): JsonText | undefined {
  try {
    return toResult(result);
  } catch (error) {
    holder.declared ??= deadLetter(describeResult('result_not_storable', error, result));
    throw error;
  }
}

/** Nobody knows whether the transaction has committed; the `cause` is what commit failed with. */
class InDoubt extends Error {
  constructor(cause: unknown) {
    super('it is not known whether the transaction has committed', { cause });
  }
}

/** The transaction must be as it was begun: neither ended by the handler nor failed without a word. */
function requireOpen(connection: pg.ClientBase): void {
  switch (connection.getTransactionStatus()) {
    case 'I':
      throw notCommitted('the handler has ended it');
    case 'E':
      throw notCommitted('a statement of it failed');
  }
}

function notCommitted(why: string): LeaseholdError {
  return new LeaseholdError('effects_not_committed', `the transaction was not committed: ${why}`, {
    hint: 'Let errors of statements reject the callback, and leave begin, commit and rollback to transaction().',
  });
}

function isNotCommitted(error: unknown): boolean {
  return error instanceof LeaseholdError && error.code === 'effects_not_committed';
}

function unlessAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => reject(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}
