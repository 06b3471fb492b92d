import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../client/package-root.ts';

export interface Compiled {
  /** The entry of a worker process, as JavaScript. */
  readonly worker: string;
  remove(): Promise<void>;
}

/**
 * Compiles the worker process of the scenarios once for a run. There are more than a hundred of them, and
 * each would translate the client anew, which takes a core for more than a second.
 */
export async function compileWorker(): Promise<Compiled> {
  const built = join(packageRoot(), 'dist');
  await mkdir(built, { recursive: true });
  const folder = await mkdtemp(join(built, 'test-worker-'));
  const config = join(folder, 'tsconfig.json');
  const compilerOptions = { noEmit: false, noCheck: true, rootDir: packageRoot(), outDir: folder };
  await writeFile(
    config,
    JSON.stringify({
      extends: join(packageRoot(), 'tsconfig.json'),
      compilerOptions: {
        ...compilerOptions,
        typeRoots: [join(packageRoot(), 'node_modules/@types')],
      },
      include: [],
      // client/thread.ts is an entry of its own: no import leads there.
      files: ['tests-ts/support/worker.ts', 'client/thread.ts'].map((file) =>
        join(packageRoot(), file),
      ),
    }),
  );
  const tsc = join(packageRoot(), 'node_modules', 'typescript', 'bin', 'tsc');
  await promisify(execFile)(process.execPath, [tsc, '-p', config]);
  return {
    worker: join(folder, 'tests-ts', 'support', 'worker.js'),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
