/* The build for require(): one CommonJS file beside the modules, and their types as CommonJS takes them. */
import { realpathSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { packageRoot } from '../client/package-root.ts';

/** Where the file is: what import.meta tells a module. */
const IMPORT_META = `
const importMetaDirname = __dirname;
const importMetaUrl = require('node:url').pathToFileURL(__filename).href;`;

/** Adds them to a folder that the modules were compiled to. */
export async function addCommonJs(folder: string): Promise<void> {
  await build({
    entryPoints: [join(folder, 'index.js')],
    outfile: join(folder, 'index.cjs'),
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    packages: 'external',
    banner: { js: IMPORT_META },
    define: { 'import.meta.dirname': 'importMetaDirname', 'import.meta.url': 'importMetaUrl' },
  });
  for (const file of await readdir(folder, { recursive: true })) {
    if (!file.endsWith('.d.ts')) continue;
    const types = await readFile(join(folder, file), 'utf8');
    await writeFile(
      join(folder, file.replace(/\.d\.ts$/, '.d.cts')),
      types.replaceAll(/(from |import\()(['"]\.[^'"]*)\.[jt]s(?=['"])/g, '$1$2.cjs'),
    );
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) {
  await addCommonJs(join(packageRoot(), 'dist/client'));
}
