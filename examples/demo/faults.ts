/* What goes wrong, and when: always in the middle of work that has a checkpoint. */
import type { Client, JobInfo } from '../../client/index.ts';
import type { Database, Disturbance } from './database.ts';
import type { Checkpoint } from './handler.ts';
import type { Journal } from './journal.ts';
import type { Terminal } from './terminal.ts';
import type { Watch } from './watch.ts';
import { chunksOf, type FileJob } from './work.ts';
import type { WorkerProcess, Workers } from './workers.ts';

/** What went wrong: the workers it befell, the jobs they held. */
export interface Faults {
  readonly killed: Victim;
  readonly frozen: Victim;
  readonly disturbance: Disturbance;
}

export interface Victim {
  readonly worker: WorkerProcess;
  readonly held: readonly JobInfo[];
}

export interface Scene {
  readonly client: Client;
  readonly database: Database;
  readonly queue: string;
  readonly total: number;
  readonly workers: Workers;
  readonly journal: Journal;
  readonly watch: Watch;
  readonly terminal: Terminal;
}

/**
 * Which part of the jobs is done before each of them. The largest jobs are first in line, and while
 * they run there is always somebody in the middle of one.
 */
const BEFORE = { kill: 0.03, freeze: 0.15, disturb: 0.5 } as const;
/** The middle of a small job is short. */
const GLANCE_MS = 25;

export async function inflict(scene: Scene): Promise<Faults> {
  const { workers, terminal, watch, total } = scene;
  const untilDone = (part: number) =>
    watch.until(`${100 * part} % of the jobs`, () => watch.done >= Math.floor(total * part));

  await untilDone(BEFORE.kill);
  const killed = await freezeInTheMiddle(scene);
  await killed.worker.kill();
  terminal.event(`${killed.worker.name} killed (SIGKILL) while ${doing(killed)}`, 'red');
  terminal.event(`${workers.start().name} started in its place`);
  const firstTakeover = takeover(scene, killed);
  firstTakeover.catch(() => undefined);

  await untilDone(BEFORE.freeze);
  const frozen = await freezeInTheMiddle(scene);
  terminal.event(`${frozen.worker.name} frozen (SIGSTOP) while ${doing(frozen)}`, 'red');
  await Promise.all([firstTakeover, takeover(scene, frozen)]);
  await frozen.worker.thaw();
  terminal.event(
    `${frozen.worker.name} thawed (SIGCONT): it goes on with jobs that are not its own any more`,
    'yellow',
  );

  await untilDone(BEFORE.disturb);
  const disturbance = await scene.database.disturb();
  const { restarted, sessionsEnded, tookMs } = disturbance;
  terminal.event(
    `${restarted ? 'PostgreSQL restarted' : 'all sessions of the demo terminated (this server is not ours to restart)'}: ${count(sessionsEnded, 'session')} cut, back after ${seconds(tookMs)}`,
    'red',
  );

  await watch.until(
    `a write of ${frozen.worker.name} to be refused`,
    () => refusedTo(scene, frozen) > 0,
  );
  return { killed, frozen, disturbance };
}

export function refusedTo({ journal }: Pick<Scene, 'journal'>, { worker }: Victim): number {
  return journal.refusals.filter((refusal) => refusal.worker === worker).length;
}

/**
 * Freezes a worker that is in the middle of a job. It is looked at again when it cannot move any more:
 * one that has just finished goes on, and another moment is waited for.
 */
async function freezeInTheMiddle(scene: Scene): Promise<Victim> {
  const { watch, workers } = scene;
  for (;;) {
    const worker = await watch.until(
      'a worker in the middle of a job',
      async () => {
        if (watch.done === scene.total) {
          throw new Error('all was done before a worker was met in the middle of a job');
        }
        const leased = await leasedJobs(scene);
        return workers.working.find((each) => each.workerId && leased.some(isHalfDoneBy(each)));
      },
      GLANCE_MS,
    );
    await worker.freeze();
    const isStill = () => isQuiet(scene, worker);
    await watch.until(`the last call of ${worker.name} to end`, isStill, GLANCE_MS);
    const held = (await leasedJobs(scene)).filter((job) => job.workerId === worker.workerId);
    if (held.some(isHalfDoneBy(worker))) return { worker, held };
    await worker.thaw();
  }
}

/** Resolves once nobody but others has the victim's jobs. */
async function takeover(scene: Scene, victim: Victim): Promise<void> {
  const began = performance.now();
  const { worker, held } = victim;
  const ids = new Set(held.map((job) => job.jobId));
  const by = await scene.watch.until(`the jobs of ${worker.name} to be taken over`, async () => {
    const now = await Promise.all(
      [...ids].map((id) => scene.watch.ask(() => scene.client.job(id))),
    );
    const taken = now.every(
      (job) => job.attempt > 0 && job.workerId !== undefined && job.workerId !== worker.workerId,
    );
    return taken ? now.map((job) => scene.workers.byId(job.workerId)?.name ?? '?') : undefined;
  });
  scene.terminal.event(
    `${held.length === 1 ? 'the job' : `the ${held.length} jobs`} of ${worker.name} taken over by ${[...new Set(by)].sort().join(' and ')} after ${seconds(performance.now() - began)}`,
    'green',
  );
}

function leasedJobs({ client, queue, watch }: Scene): Promise<JobInfo[]> {
  return watch.ask(() => client.peek(queue, { state: 'leased', limit: 1000 }));
}

/** It saved a checkpoint in this very attempt, and has more than a chunk to go. */
function isHalfDoneBy(worker: WorkerProcess): (job: JobInfo) => boolean {
  return ({ workerId, payload, checkpoint, attempt }) => {
    const saved = checkpoint as Checkpoint | undefined;
    return (
      workerId === worker.workerId &&
      saved?.attempt === attempt &&
      saved.chunks + 1 < chunksOf(payload as FileJob)
    );
  };
}

/** Nothing that the worker sent is still under way. */
async function isQuiet({ watch }: Scene, worker: WorkerProcess): Promise<boolean> {
  const [row] = await watch.query<{ active: boolean }>(
    `select count(*) filter (where state <> 'idle') > 0 as active
     from pg_stat_activity where application_name = $1`,
    [worker.applicationName],
  );
  return row?.active === false;
}

function doing({ worker, held }: Victim): string {
  const halfDone = held.filter(isHalfDoneBy(worker));
  const chunks = halfDone.map(
    (job) => `${(job.checkpoint as Checkpoint).chunks}/${chunksOf(job.payload as FileJob)}`,
  );
  return `it worked on ${count(held.length, 'job')} (checkpoints saved: chunk ${chunks.join(', ')})`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
