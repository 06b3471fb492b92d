/* The course of the demonstration, from the database to the table at the end. */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { relative, resolve } from 'node:path';
import pg from 'pg';
import { Client, migrate } from '../../client/index.ts';
import { audit } from './audit.ts';
import { type Database, openDatabase } from './database.ts';
import { Direct } from './direct.ts';
import { type Faults, inflict } from './faults.ts';
import { Journal } from './journal.ts';
import type { Options } from './options.ts';
import { jobOf, plan, secondsOf } from './plan.ts';
import { report } from './report.ts';
import { printable, type Terminal } from './terminal.ts';
import { bytesOf, defaultFolder, type File, readTree } from './tree.ts';
import { Watch } from './watch.ts';
import type { FileJob } from './work.ts';
import { Workers } from './workers.ts';

const WORKERS = 3;
const LEASE_MS = 3_000;
const MAX_CORES = 8;
/** Without a folder named, files from this size on are taken. */
const LARGER_BYTES = 8 * 1024;
/** Far more than the faults of a run can make a job lose. */
const MAX_LOSSES = 100;
const ENQUEUE_BATCH = 1_000;
/** How long workers may go on at the end, where only zombies still have something to do. */
const DRAIN_MS = 20_000;
const PROGRESS_MS = 250;

interface Stage {
  readonly options: Options;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
  readonly cores: number;
  readonly direct: Direct;
  readonly database: Database;
  readonly queue: string;
}

/** Resolves to whether everything holds. Whatever happens, it leaves no process behind. */
export async function demonstrate(
  options: Options,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<boolean> {
  const cores = Math.min(availableParallelism(), MAX_CORES);
  const queue = `demo-${Date.now().toString(36)}-${randomBytes(2).toString('hex')}`;
  const direct = await Direct.start(cores);
  terminal.event('preparing the database');
  let database: Database | undefined;
  try {
    database = await openDatabase(process.env.DATABASE_URL, queue);
    signal.throwIfAborted();
    await migrate({ connection: database.url, signal });
    terminal.event(`queue ${queue} in ${database.place}`);
    const stage = { options, terminal, signal, cores, direct, database, queue };
    return await perform(stage, await chooseJobs(stage));
  } finally {
    await direct.stop();
    await database?.stop();
  }
}

async function chooseJobs({ options, terminal, signal, cores, direct }: Stage): Promise<FileJob[]> {
  const named = options.folder ?? (await defaultFolder());
  const folder = resolve(named);
  const { files, unreadable } = await readTree(folder);
  if (unreadable.length > 0) {
    const some = unreadable.slice(0, 3).map((path) => printable(relative(folder, path)));
    const dots = unreadable.length > some.length ? ', …' : '';
    terminal.event(`${unreadable.length} cannot be read: ${some.join(', ')}${dots}`, 'yellow');
  }
  const candidates = options.folder === undefined ? largerOf(files) : files;
  if (bytesOf(candidates) === 0) throw new Error(`there is nothing to work on in ${folder}`);

  signal.throwIfAborted();
  const speed = await direct.measure(candidates.filter(({ size }) => size > 0).map(jobOf), signal);
  const jobs = plan(candidates, speed, options, cores);
  if (jobs.length === 0) throw new Error('the time is too short for any of the files');
  const seconds = Math.max(secondsOf(jobs, speed), options.minSeconds);
  terminal.event(
    `${jobs.length} of ${files.length} files in ${printable(named)}, ${megabytes(bytesOf(jobs))}: about ${Math.round(seconds)} s of work and checking on ${cores} cores`,
  );
  return jobs;
}

function largerOf(files: readonly File[]): readonly File[] {
  const larger = files.filter(({ size }) => size >= LARGER_BYTES);
  return larger.length > 0 ? larger : files;
}

async function perform(stage: Stage, jobs: readonly FileJob[]): Promise<boolean> {
  const { terminal, signal, cores, direct, database, queue } = stage;
  const pool = new pg.Pool({ connectionString: database.url, application_name: queue, max: 4 });
  // A connection that is lost while nobody uses it is replaced by the next call.
  pool.on('error', () => undefined);
  const client = new Client(pool);
  const journal = new Journal();
  // The first part that fails ends the waits of all others.
  const failing = new AbortController();
  const watch = new Watch({
    pool,
    client,
    queue,
    signal: AbortSignal.any([signal, failing.signal]),
    pulse: () => journal.length,
  });
  const workers = new Workers({
    databaseUrl: database.url,
    queue,
    concurrency: Math.min(Math.max(Math.ceil(cores / 2), 2), 4),
    leaseMs: LEASE_MS,
    onEvent: (worker, event) => {
      journal.record(worker, event);
      if (event.type === 'outcome:refused') {
        terminal.event(
          `${worker.name} tried to complete job ${event.jobId} under its old lease: refused (${event.status})`,
          'yellow',
        );
      }
    },
    onCrash: (worker, how) => failing.abort(new Error(`${worker.name} ended by itself: ${how}`)),
  });

  try {
    await client.createQueue(queue, { leaseMs: LEASE_MS, maxLosses: MAX_LOSSES });
    const jobIds: string[] = [];
    for (let from = 0; from < jobs.length; from += ENQUEUE_BATCH) {
      signal.throwIfAborted();
      const batch = jobs.slice(from, from + ENQUEUE_BATCH).map((payload) => ({ payload }));
      jobIds.push(...(await client.enqueueMany(queue, batch)));
    }
    for (let i = 0; i < WORKERS; i++) workers.start();
    terminal.event(`${WORKERS} workers started`);

    const parts = [
      inflict({ client, database, queue, total: jobs.length, workers, journal, watch, terminal }),
      showProgress(watch, terminal, direct, jobs.length),
      direct.compute(jobs),
    ] as const;
    for (const part of parts) part.catch((error: unknown) => failing.abort(error));
    const [faults]: readonly [Faults, ...unknown[]] = await Promise.all(parts);
    await workers.stop(DRAIN_MS);
    terminal.close();

    const outcome = await audit({
      client,
      watch,
      queue,
      jobIds,
      direct: direct.results,
      faults,
      journal,
    });
    report(outcome, terminal);
    return outcome.broken.length === 0;
  } finally {
    terminal.close();
    await workers.stop(0);
    if (watch.done < jobs.length) await client.purgeQueue(queue).catch(() => undefined);
    await pool.end();
  }
}

/** Resolves when all is done. */
async function showProgress(
  watch: Watch,
  terminal: Terminal,
  direct: Direct,
  total: number,
): Promise<void> {
  while (watch.done < total) {
    terminal.progress({ done: watch.done, total, what: 'jobs finished' });
    await watch.pause(PROGRESS_MS);
    await watch.look();
  }
  terminal.event(`all jobs finished: ${total}`);
  while (direct.done < total) {
    terminal.progress({ done: direct.done, total, what: 'files computed directly' });
    await watch.pause(PROGRESS_MS);
  }
}

function megabytes(bytes: number): string {
  return bytes < 100_000
    ? `${Math.ceil(bytes / 1_000)} kB`
    : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
