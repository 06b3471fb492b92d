/* The handler of tests of signals in a thread: keeps its thread busy, then says what it sees at its first look. */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import type { Context, Job } from '../../../client/index.ts';

export interface Block {
  /** Written when it has begun. */
  readonly began: string;
  /** Keeps the thread busy until this file is there; what it sees then is in one named `.seen`. */
  readonly until: string;
  /** What it does then. */
  readonly then: 'says' | 'throws';
}

export default async function block(job: Job<Block>, { signal }: Context): Promise<unknown> {
  const { began, until, then } = job.payload;
  if (job.attempt > 1) return 'again';
  writeFileSync(began, '');
  while (!existsSync(until));
  const { aborted, reason } = signal;
  writeFileSync(`${until}.part`, aborted ? reason.code : 'nothing');
  renameSync(`${until}.part`, `${until}.seen`);
  if (then === 'throws') signal.throwIfAborted();
  return { aborted };
}
