/* The handler of tests of completeIn and transaction in a thread: its payload says what it does. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Context, Job } from '../../../client/index.ts';

export interface Transact {
  readonly url: string;
  readonly with: 'completeIn' | 'transaction';
  readonly end: 'commit' | 'caught error' | 'throw';
  /** Waits after it until this file is there. */
  readonly file?: string;
}

export default async function transact(job: Job<Transact>, context: Context): Promise<unknown> {
  const { payload } = job;
  // Another attempt does what it is to do, and no mischief.
  const end = job.attempt === 1 ? payload.end : 'commit';
  if (payload.with === 'completeIn') await completeIn(job, context, end);
  else await transaction(job, context, end);
  while (payload.file !== undefined && !existsSync(payload.file)) await sleep(10);
  context.signal.throwIfAborted();
  return 'returned';
}

const INSERT = 'insert into effect values ($1, $2)';

async function completeIn(
  job: Job<Transact>,
  context: Context,
  end: Transact['end'],
): Promise<void> {
  const connection = new pg.Client({ connectionString: job.payload.url });
  await connection.connect();
  await connection.query('begin');
  await connection.query(INSERT, [job.id, job.attempt]);
  await context.completeIn(connection, 'in the transaction');
  if (end === 'caught error') await connection.query('select 1 / 0').catch(() => undefined);
  await connection.query('commit');
  await connection.end();
  if (end === 'throw') throw new Error('thrown after the commit');
}

async function transaction(
  job: Job<Transact>,
  context: Context,
  end: Transact['end'],
): Promise<void> {
  const done = await context.transaction(async (connection) => {
    await connection.query(INSERT, [job.id, job.attempt]);
    if (end === 'caught error') await connection.query('select 1 / 0').catch(() => undefined);
    if (end === 'throw') throw new Error('thrown in the transaction');
    return 'in the transaction';
  });
  if (done !== 'in the transaction') throw new Error(`resolved to ${done}`);
}
