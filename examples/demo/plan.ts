/* How much work there is to be: enough to be disturbed, and not more than there is time for. */
import { type File, sample } from './tree.ts';
import { chunkBytesOf, chunksOf, type FileJob } from './work.ts';

/** What all cores do together in a second, with whatever else they have to do now. */
export interface Speed {
  readonly bytes: number;
  readonly iterations: number;
}

export interface Wish {
  /** Most files. */
  readonly files: number;
  /** The work and its checking are to take this long at least and at most. */
  readonly minSeconds: number;
  readonly maxSeconds: number;
}

/** Everything is computed twice: by a worker, and directly. */
const TIMES = 2;

export function plan(files: readonly File[], speed: Speed, wish: Wish, cores: number): FileJob[] {
  const chosen = sample(files, wish.files, (speed.bytes * wish.maxSeconds) / TIMES);
  const jobs = chosen.map((file) => jobOf(file));
  const missingSeconds = wish.minSeconds - secondsOf(jobs, speed);
  if (missingSeconds <= 0) return jobs;
  // Fewer files than cores leave some of them idle.
  const share = Math.min(1, jobs.length / cores);
  const chunks = jobs.reduce((sum, job) => sum + chunksOf(job), 0);
  const more = Math.floor((missingSeconds * share * speed.iterations) / TIMES / chunks);
  return jobs.map((job) => ({ ...job, iterations: Math.min(1 + more, 2 ** 31 - 1) }));
}

export function jobOf(file: File): FileJob {
  return { ...file, chunkBytes: chunkBytesOf(file.size), iterations: 1 };
}

/** How long the work and its checking will take. */
export function secondsOf(jobs: readonly FileJob[], speed: Speed): number {
  return jobs.reduce((sum, { size }) => sum + size, 0) / (speed.bytes / TIMES);
}
