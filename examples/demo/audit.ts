/* What came of it, as the database tells it, held against the direct computation. */
import type { Client, JobInfo, JobState } from '../../client/index.ts';
import type { DirectResult } from './direct.ts';
import type { Faults } from './faults.ts';
import { refusedTo } from './faults.ts';
import type { FileResult } from './handler.ts';
import type { Journal } from './journal.ts';
import { printable } from './terminal.ts';
import type { Watch } from './watch.ts';

export interface Audit {
  readonly jobs: number;
  readonly attempts: number;
  /** Leases that expired, and how many of them the database charged as a loss. */
  readonly expired: number;
  readonly losses: number;
  readonly resumed: number;
  /** Chunks that the finishing attempts found done. */
  readonly chunksSaved: number;
  readonly refused: number;
  readonly duplicates: number;
  readonly lost: number;
  readonly equal: number;
  /** Why files were skipped, by path. */
  readonly skipped: ReadonlyMap<string, string>;
  /** What does not hold; empty: everything does. */
  readonly broken: readonly string[];
}

export interface Evidence {
  readonly client: Client;
  readonly watch: Watch;
  readonly queue: string;
  /** What was enqueued, in the order of the direct results. */
  readonly jobIds: readonly string[];
  readonly direct: readonly DirectResult[];
  readonly faults: Faults;
  readonly journal: Journal;
}

const STATES: readonly JobState[] = [
  ...(['completed', 'dead', 'cancelled', 'leased', 'ready', 'scheduled', 'blocked'] as const),
];

export async function audit(evidence: Evidence): Promise<Audit> {
  const { jobIds, direct, faults, journal } = evidence;
  const infos = await allJobs(evidence);
  const completed = new Map(
    infos.filter((job) => job.state === 'completed').map((job) => [job.jobId, job]),
  );
  const history = infos.flatMap((job) => job.history);
  const sum = (number: (job: JobInfo) => number) => infos.reduce((s, job) => s + number(job), 0);

  const skipped = new Map<string, string>();
  const different: string[] = [];
  let [equal, resumed, chunksSaved] = [0, 0, 0];
  for (const [index, jobId] of jobIds.entries()) {
    const job = completed.get(jobId);
    const expected = direct[index];
    if (job === undefined || expected === undefined) continue;
    const { path } = job.payload as { path: string };
    const result = job.result as FileResult;
    if (!('skipped' in result) && result.resumedAt > 0) {
      resumed += 1;
      chunksSaved += result.resumedAt;
    }
    // Either may have met a file that had changed; then there is nothing to compare.
    const because = [result, expected].find((each) => 'skipped' in each);
    if (because !== undefined && 'skipped' in because) skipped.set(path, because.skipped);
    else if (isSame(result, expected)) equal += 1;
    else different.push(printable(path));
  }

  const rows = await finishedRows(evidence);
  const twice = [...journal.completions.values()].filter((attempts) => attempts.size > 1).length;
  const lost = jobIds.filter((jobId) => !completed.has(jobId)).length;
  const duplicates = rows.total - rows.jobs + twice;
  const refused = journal.refusals.length;
  const expiredOf = ({ worker }: Faults['killed']) =>
    history.filter(({ workerId, outcome }) => workerId === worker.workerId && outcome === 'expired')
      .length;

  const broken = [
    ...(lost > 0 ? [`${lost} of ${jobIds.length} jobs did not complete`] : []),
    ...(duplicates > 0 ? [`${duplicates} completions too many`] : []),
    ...different.map((path) => `the result for ${path} differs from the direct computation`),
    ...(equal === 0 ? ['no result equals the direct computation'] : []),
    ...[faults.killed, faults.frozen].flatMap((victim) =>
      expiredOf(victim) > 0 ? [] : [`${victim.worker.name} lost no lease`],
    ),
    ...(resumed > 0 ? [] : ['no job was resumed from a checkpoint']),
    ...(refusedTo(evidence, faults.frozen) > 0
      ? []
      : [`${faults.frozen.worker.name} was refused no write`]),
    ...(faults.disturbance.restarted || faults.disturbance.sessionsEnded > 0
      ? []
      : ['the database was never away']),
    ...journal.crashes,
  ];
  return {
    jobs: jobIds.length,
    attempts: sum((job) => job.attempt),
    expired: history.filter(({ outcome }) => outcome === 'expired').length,
    losses: sum((job) => job.losses),
    resumed,
    chunksSaved,
    refused,
    duplicates,
    lost,
    equal,
    skipped,
    broken,
  };
}

function isSame(result: FileResult, expected: DirectResult): boolean {
  if ('skipped' in result || 'skipped' in expected) return false;
  return (['chunks', 'compressedBytes', 'digest'] as const).every(
    (key) => result[key] === expected[key],
  );
}

const PAGE = 1000;

/** Every job of the queue, wherever it is. The queue is this run's alone. */
async function allJobs({ client, watch, queue }: Evidence): Promise<JobInfo[]> {
  const found: JobInfo[] = [];
  for (const state of STATES) {
    for (let after: string | undefined; ; ) {
      const options = { state, limit: PAGE, ...(after ? { after } : {}) };
      const page = await watch.ask(() => client.peek(queue, options));
      found.push(...page);
      after = page.at(-1)?.jobId;
      if (page.length < PAGE) break;
    }
  }
  return found;
}

/** Past every function: the rows that say "completed" in the table itself. */
async function finishedRows({ watch, jobIds }: Evidence): Promise<{ total: number; jobs: number }> {
  const [row] = await watch.query<{ total: number; jobs: number }>(
    `select count(*)::int4 as total, count(distinct job_id)::int4 as jobs
     from leasehold.finished where job_id = any($1::bigint[]) and outcome = 'completed'`,
    [jobIds],
  );
  return row ?? { total: 0, jobs: 0 };
}
