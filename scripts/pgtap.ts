import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';

const BLOCK_BYTES = 512;

/**
 * pgTAP as one SQL script. The extension is plain SQL, so it need not be installed on the server, and
 * every server is tested with the same version of it.
 */
export async function pgtapSql(): Promise<string> {
  const require = createRequire(import.meta.url);
  const archive = join(dirname(require.resolve('@electric-sql/pglite-pgtap')), 'pgtap.tar.gz');
  const tar = gunzipSync(await readFile(archive));
  return readFromTar(tar, 'share/postgresql/extension/pgtap.sql').toString('utf8');
}

/** A tar archive is a row of files: a block with name and octal size, then the content in blocks. */
function readFromTar(tar: Buffer, path: string): Buffer {
  for (let offset = 0; offset + BLOCK_BYTES <= tar.length; ) {
    const field = (from: number, to: number) =>
      tar.toString('latin1', offset + from, offset + to).replace(/\0.*$/, '');
    const size = Number.parseInt(field(124, 136), 8) || 0;
    const content = offset + BLOCK_BYTES;
    if (field(0, 100) === path) return tar.subarray(content, content + size);
    offset = content + Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
  }
  throw new Error(`${path} is not in the archive`);
}
