import { withClient } from './server.ts';

/** One run of a handler, as the worker wrote it down itself: it survives the worker. */
export interface Invocation {
  readonly jobId: string;
  readonly attempt: number;
  /** Name of the worker process, and its id. */
  readonly worker: string;
  readonly pid: number;
  readonly startedAt: Date;
  readonly endedAt: Date | undefined;
  /** `returned`, `threw`, or a JobAbort's code; undefined: it has not ended, or its process has. */
  readonly outcome: string | undefined;
}

/** Makes the table. Called again, also by several at once, it does nothing. */
export async function createInvocations(url: string): Promise<void> {
  await withClient(url, async (client) => {
    await client.query('begin');
    // Two that create it at once would fail on the row type.
    await client.query('select pg_advisory_xact_lock(7)');
    await client.query(`
      create table if not exists public.invocation (
        invocation_id bigint generated always as identity primary key,
        job_id bigint not null,
        attempt integer not null,
        worker text not null,
        pid integer not null,
        started_at timestamptz not null default clock_timestamp(),
        ended_at timestamptz,
        outcome text
      )`);
    await client.query('commit');
  });
}

/** All runs so far in the order of their start, of one job or of any. */
export async function invocations(url: string, jobId?: string): Promise<Invocation[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<Row>(
      `select job_id, attempt, worker, pid, started_at, ended_at, outcome
       from public.invocation
       where $1::bigint is null or job_id = $1
       order by invocation_id`,
      [jobId],
    );
    return rows.map((row) => ({
      jobId: row.job_id,
      attempt: row.attempt,
      worker: row.worker,
      pid: row.pid,
      startedAt: row.started_at,
      endedAt: row.ended_at ?? undefined,
      outcome: row.outcome ?? undefined,
    }));
  });
}

interface Row {
  job_id: string;
  attempt: number;
  worker: string;
  pid: number;
  started_at: Date;
  ended_at: Date | null;
  outcome: string | null;
}
