/* The package as others get it: bundled, required, imported, and typed. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { expect, onTestFinished, test } from 'vitest';
import { packageRoot } from '../client/package-root.ts';
import { VERSION } from '../client/version.ts';
import { addCommonJs } from '../scripts/commonjs.ts';

const run = promisify(execFile);
const root = packageRoot();

async function temporary(parent: string): Promise<string> {
  await mkdir(parent, { recursive: true });
  const folder = await mkdtemp(join(parent, 'test-package-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test('S33 the version is that of package.json', async () => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  expect(VERSION).toBe(version);
});

test('S33 a bundle loads where there is no file of the package, and says so when one is needed', async () => {
  // Not below the package, whose own package.json would be found.
  const folder = await temporary(tmpdir());
  const asks = `
    const { Client, Scheduler, migrate } = leasehold;
    const refusal = await migrate({ connection: 'postgres://nowhere' }).catch((error) => error);
    const scheduler = new Scheduler({
      connection: 'postgres://nowhere',
      handlers: { q: { module: new URL('data:text/javascript,export default 1') } },
    });
    const missing = await scheduler.start().catch((error) => error);
    console.log(JSON.stringify([typeof Client, refusal.message, missing.code]));`;
  const common = {
    bundle: true,
    platform: 'node',
    logLevel: 'error',
    logOverride: { 'empty-import-meta': 'silent' },
  } as const;
  await Promise.all([
    build({
      ...common,
      stdin: {
        contents: `import * as leasehold from './client/index.ts'; (async () => {${asks}})();`,
        resolveDir: root,
      },
      format: 'cjs',
      outfile: join(folder, 'bundle.cjs'),
    }),
    build({
      ...common,
      stdin: {
        contents: `import * as leasehold from './client/index.ts'; ${asks}`,
        resolveDir: root,
      },
      format: 'esm',
      // What esbuild needs for any CommonJS package that requires a module of Node.
      banner: {
        js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
      },
      outfile: join(folder, 'bundle.mjs'),
    }),
  ]);
  for (const bundle of ['bundle.cjs', 'bundle.mjs']) {
    const { stdout } = await run(process.execPath, [join(folder, bundle)]);
    expect(JSON.parse(stdout)).toEqual([
      'function',
      'the files of the package leasehold are not there',
      'handler_unavailable',
    ]);
  }
});

const CONSUMER = `
  interface Queues { render: { payload: { file: string } } }
  export async function main(pool: Pool, name: string | undefined): Promise<string> {
    const client: Client<Queues> = new Client<Queues>(pool);
    new Scheduler<Queues>({ connection: '', handlers: { render: ({ payload }) => payload.file } });
    return client.enqueue('render', { file: '' }, { dedupKey: name });
  }
  export const isOurs = (error: unknown): boolean => error instanceof LeaseholdError;`;

test('S33 the package can be imported and required, by Node and by TypeScript, with no package besides', async () => {
  // Below the package, so that its dependencies are found.
  const folder = await temporary(join(root, 'dist'));
  const installed = join(folder, 'node_modules', 'leasehold');
  await mkdir(installed, { recursive: true });
  await cp(join(root, 'package.json'), join(installed, 'package.json'));
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const config = {
    extends: join(root, 'tsconfig.build.json'),
    compilerOptions: {
      rootDir: root,
      outDir: join(installed, 'dist'),
      typeRoots: [join(root, 'node_modules/@types')],
    },
    include: [],
    files: [join(root, 'client/index.ts'), join(root, 'client/thread.ts')],
  };
  await writeFile(join(folder, 'build.json'), JSON.stringify(config));
  await run(process.execPath, [tsc, '-p', join(folder, 'build.json')]);
  await addCommonJs(join(installed, 'dist', 'client'));

  // Else the name would mean the package around it.
  await writeFile(join(folder, 'package.json'), '{ "name": "consumer" }');
  const names = 'Client, LeaseholdError, Scheduler';
  await writeFile(
    join(folder, 'module.mts'),
    `import type { Pool } from 'pg'; import { ${names} } from 'leasehold'; ${CONSUMER}`,
  );
  await writeFile(
    join(folder, 'common.cts'),
    `import type { Pool } from 'pg'; import { ${names} } from 'leasehold'; ${CONSUMER}`,
  );
  const compilerOptions = {
    module: 'node16',
    target: 'es2022',
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    types: [],
  };
  await writeFile(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: ['module.mts', 'common.cts'] }),
  );
  await run(process.execPath, [tsc, '-p', folder], { cwd: folder });

  const required = `const { LeaseholdError, ...all } = require('leasehold');
    import('leasehold').then((imported) => console.log(JSON.stringify({
      names: Object.keys({ LeaseholdError, ...all }).sort(),
      imported: Object.keys(imported).filter((name) => name !== 'module.exports').sort(),
      isSame: imported.LeaseholdError === LeaseholdError,
    })))`;
  // Where modules can be required there is one copy of it; where they cannot, as in Jest, another.
  for (const [flags, isSame] of [
    [[], true],
    [['--no-experimental-require-module'], false],
  ] as const) {
    const { stdout } = await run(process.execPath, [...flags, '-e', required], { cwd: folder });
    const { names: found, imported, isSame: same } = JSON.parse(stdout);
    expect(found).toEqual(imported);
    expect(found).toContain('Scheduler');
    expect(same).toBe(isSame);
  }
});
