import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../client/package-root.ts';

/** A file that `sql/install.sql` includes. */
export interface Part {
  /** Path from the package's folder, like `sql/functions/enqueue.sql`. */
  readonly path: string;
  /** Heading it stands under. */
  readonly group: string;
  readonly sql: string;
}

/** Reads the manifest and everything it includes, in load order. */
export async function readManifest(root: string = packageRoot()): Promise<Part[]> {
  const text = await readFile(join(root, 'sql/install.sql'), 'utf8');
  const includes = parseManifest(text);
  const paths = includes.map((include) => include.path);
  const twice = paths.find((path, index) => paths.indexOf(path) !== index);
  if (twice !== undefined) throw new Error(`sql/install.sql includes ${twice} twice`);
  const left = (await sqlFiles(root)).filter((path) => !paths.includes(path));
  if (left.length > 0) throw new Error(`sql/install.sql does not include ${left.join(', ')}`);
  return Promise.all(
    includes.map(async (include) => {
      const sql = await readFile(join(root, include.path), 'utf8');
      if (!sql.endsWith('\n')) throw new Error(`${include.path} does not end with a newline`);
      return { ...include, sql };
    }),
  );
}

/** One script that does what `psql -f sql/install.sql` does, for a client that knows no backslash. */
export async function installSql(root: string = packageRoot()): Promise<string> {
  return (await readManifest(root)).map((part) => part.sql).join('\n');
}

function parseManifest(text: string): Omit<Part, 'sql'>[] {
  const includes: Omit<Part, 'sql'>[] = [];
  let group: string | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    const heading = /^-- Group: (.+)$/.exec(line)?.[1];
    const file = /^\\ir (\S+)$/.exec(line)?.[1];
    if (heading !== undefined) group = heading;
    else if (file !== undefined && group !== undefined)
      includes.push({ path: `sql/${file}`, group });
    else if (line !== '' && !line.startsWith('--')) {
      throw new Error(
        `sql/install.sql:${index + 1}: expected "\\ir FILE" under a "-- Group: NAME", got "${line}"`,
      );
    }
  }
  return includes;
}

async function sqlFiles(root: string): Promise<string[]> {
  const files = await readdir(join(root, 'sql'), { recursive: true });
  return files
    .filter((file) => file.endsWith('.sql') && file !== 'install.sql')
    .map((file) => `sql/${file}`)
    .sort();
}
