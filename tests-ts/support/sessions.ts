import pg from 'pg';
import { afterAll } from 'vitest';
import { untilBlocked } from './wait.ts';

/** A leased job, as a test holds it. */
export interface Held {
  readonly queue: string;
  readonly jobId: string;
  readonly token: string;
}

/** One connection with the calls that races are made of. Values stay text, as PostgreSQL writes them. */
export class Session {
  readonly #client: pg.Client;
  readonly pid: number;

  private constructor(client: pg.Client, pid: number) {
    this.#client = client;
    this.pid = pid;
  }

  /** Connects; closed after the file's tests. */
  static async open(url: string): Promise<Session> {
    const client = new pg.Client({ connectionString: url, types: TEXT_ONLY });
    client.on('error', () => undefined);
    await client.connect();
    afterAll(() => client.end());
    const { rows } = await client.query('select pg_backend_pid() as pid');
    return new Session(client, Number(rows[0].pid));
  }

  async rows(sql: string, values: readonly unknown[] = []): Promise<Row[]> {
    const { rows } = await this.#client.query<Row>(sql, [...values]);
    return rows;
  }

  /** The first column of the first row. */
  async value(sql: string, values: readonly unknown[] = []): Promise<string | null> {
    const [row] = await this.rows(sql, values);
    return (row && Object.values(row)[0]) ?? null;
  }

  /** The first column of every row. */
  async column(sql: string, values: readonly unknown[] = []): Promise<(string | null)[]> {
    const rows = await this.rows(sql, values);
    return rows.map((row) => Object.values(row)[0] ?? null);
  }

  /** What `sql` says, or the SQLSTATE it fails with. */
  async outcome(sql: string, values: readonly unknown[] = []): Promise<string | null> {
    try {
      return await this.value(sql, values);
    } catch (error) {
      if (error instanceof pg.DatabaseError && error.code) return error.code;
      throw error;
    }
  }

  /** Runs `work` in a transaction that stays open while `meanwhile` runs, then commits it. */
  async holding(work: () => Promise<unknown>, meanwhile: () => Promise<unknown>): Promise<void> {
    await this.#client.query('begin');
    try {
      await work();
      await meanwhile();
    } catch (error) {
      await this.#client.query('rollback');
      throw error;
    }
    await this.#client.query('commit');
  }

  async begin(): Promise<void> {
    await this.#client.query('begin');
  }

  async commit(): Promise<void> {
    await this.#client.query('commit');
  }

  async rollback(): Promise<void> {
    await this.#client.query('rollback');
  }

  /** Resolves once `other` waits for a lock. */
  async untilBlocked(other: Session): Promise<void> {
    await untilBlocked(this.#client, { pid: other.pid });
  }
}

export type Row = Record<string, string | null>;

const TEXT_ONLY: pg.CustomTypesConfig = { getTypeParser: () => (text: string | Buffer) => text };

export const COMPLETE = 'select status from leasehold.complete($1, $2)';
export const HEARTBEAT = 'select status from leasehold.heartbeat($1, $2)';
export const FAIL = 'select status from leasehold.fail($1, $2)';
export const ASSERT_LEASE = `select 'held' from leasehold.assert_lease($1, $2)`;
export const CANCEL = 'select leasehold.cancel($1)';
export const REAP = 'select leasehold.reap_expired()';
export const LEASE = 'select job_id, token from leasehold.lease_jobs(array[$1], gen_random_uuid())';
export const STATE = 'select state from leasehold.job($1)';

let queues = 0;

/** A queue of its own with one leased job in it. */
export async function leased(session: Session): Promise<Held> {
  const queue = `race ${++queues}`;
  await session.rows('select leasehold.create_queue($1)', [queue]);
  return another(session, queue);
}

/** One more job of the queue, leased. */
export async function another(session: Session, queue: string): Promise<Held> {
  await session.rows(`select leasehold.enqueue($1, '1')`, [queue]);
  return lease(session, queue);
}

export async function lease(session: Session, queue: string): Promise<Held> {
  const [row] = await session.rows(LEASE, [queue]);
  if (!row?.job_id || !row.token) throw new Error(`queue "${queue}" has no job to lease`);
  return { queue, jobId: row.job_id, token: row.token };
}

/** A queue of its own with one job whose lease has expired. */
export async function expired(session: Session): Promise<Held> {
  const held = await leased(session);
  await expire(session, [held]);
  return held;
}

/** A queue of its own with one job whose lease was reaped; its token is still the newest. */
export async function reaped(session: Session): Promise<Held> {
  const held = await expired(session);
  await session.rows(REAP);
  return held;
}

export async function expire(session: Session, held: readonly Held[]): Promise<void> {
  await session.rows(
    `update leasehold.lease
     set expires_at = leasehold._now() - interval '1 hour'
     where job_id = any ($1)`,
    [held.map(({ jobId }) => jobId)],
  );
}

export const ids = (held: readonly Held[]): string[] => held.map(({ jobId }) => jobId);
export const tokens = (held: readonly Held[]): string[] => held.map(({ token }) => token);
