/* The same computation without any queue, in threads of this process: what the results must equal. */
import { extname } from 'node:path';
import type { Piscina } from 'piscina';
import type { Speed } from './plan.ts';
import type { FileJob, Place } from './work.ts';

/** What a file comes to; or why that cannot be told. */
export type DirectResult = Place | { readonly skipped: string };

export class Direct {
  readonly results: DirectResult[] = [];
  readonly #pool: Piscina;
  readonly #threads: number;

  private constructor(pool: Piscina, threads: number) {
    this.#pool = pool;
    this.#threads = threads;
  }

  static async start(threads: number): Promise<Direct> {
    const { Piscina } = await import('piscina').catch((cause: unknown) => {
      throw new Error(
        'the work runs in worker threads of the package piscina, which is not installed: run "npm install piscina"',
        { cause },
      );
    });
    const filename = new URL(`./direct-thread${extname(import.meta.url)}`, import.meta.url).href;
    return new Direct(new Piscina({ filename, minThreads: threads, maxThreads: threads }), threads);
  }

  /** Works on samples in all threads at once, for about a second. Rejects as soon as the signal fires. */
  async measure(files: readonly FileJob[], signal: AbortSignal): Promise<Speed> {
    const speeds: Speed[] = await Promise.all(
      Array.from({ length: this.#threads }, () =>
        this.#pool.run(files, { name: 'measure', signal }),
      ),
    );
    return {
      bytes: speeds.reduce((sum, { bytes }) => sum + bytes, 0),
      iterations: speeds.reduce((sum, { iterations }) => sum + iterations, 0),
    };
  }

  /** Computes `results`, in the order of the files. */
  async compute(files: readonly FileJob[]): Promise<void> {
    await Promise.all(
      files.map(async (file, index) => {
        this.results[index] = await this.#pool.run(file, { name: 'compute' });
      }),
    );
  }

  get done(): number {
    return this.results.reduce((sum) => sum + 1, 0);
  }

  async stop(): Promise<void> {
    await this.#pool.destroy();
  }
}
