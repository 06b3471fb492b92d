/* The entry of a thread that computes directly. */
import { pbkdf2Sync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { DirectResult } from './direct.ts';
import type { Speed } from './plan.ts';
import { advance, chunksOf, type FileJob, FileSkipped, finish, START } from './work.ts';

export async function compute(file: FileJob): Promise<DirectResult> {
  try {
    return await finish(file);
  } catch (error) {
    if (error instanceof FileSkipped) return { skipped: error.message };
    throw error;
  }
}

const MEASURE_MS = 800;
const ITERATIONS = 100_000;

export async function measure(files: readonly FileJob[]): Promise<Speed> {
  let bytes = 0;
  const begun = performance.now();
  const ms = (since: number) => performance.now() - since;
  while (ms(begun) < MEASURE_MS) {
    const file = files[Math.floor(Math.random() * files.length)] as FileJob;
    const content = await readFile(file.path).catch(() => Buffer.alloc(file.size));
    const from = Math.floor(Math.random() * chunksOf(file)) * file.chunkBytes;
    const chunk = content.subarray(from, from + file.chunkBytes);
    advance(START, chunk, 1);
    bytes += chunk.length;
  }
  const bytesPerSecond = (bytes / ms(begun)) * 1000;
  const then = performance.now();
  pbkdf2Sync('', '', ITERATIONS, 32, 'sha256');
  return { bytes: bytesPerSecond, iterations: (ITERATIONS / ms(then)) * 1000 };
}
