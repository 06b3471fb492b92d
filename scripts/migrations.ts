/**
 * Makes migrations from `sql/`, and checks that they still say the same.
 *
 * A migration is a snapshot: what is written by hand (DDL that changes tables which exist), then the
 * file bodies that changed since the last one, then the grants. Everything below the first generated
 * line belongs to this script.
 *
 *   tsx scripts/migrations.ts new NAME   begin the next migration
 *   tsx scripts/migrations.ts refresh    bring the unreleased one up to date with sql/
 *   tsx scripts/migrations.ts freeze     at release: from now on it never changes
 *   tsx scripts/migrations.ts check      fail when any of this is not as it should be
 */
import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../client/package-root.ts';
import { type Part, readManifest } from './manifest.ts';

interface Migration {
  /** File name, like `0001_install.sql`. */
  readonly file: string;
  readonly text: string;
  /** Its hash at release; undefined while it may change. */
  readonly frozen: string | undefined;
}

const HASH_FILE = '.sha256';
const HASH_HEADER =
  '# Released migrations, which never change. Written by npm run migration:freeze.\n';

/** node-pg-migrate goes by the number alone; four digits keep file listings in the same order. */
const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/;

/** node-pg-migrate cuts a file into directions at such a line, and silently drops a part of it. */
const DIRECTION_MARKER = /^\s*--[\s-]*(up|down)\s+migration/im;

const GRANTS = 'sql/grants.sql';

/** First line that this script writes; what stands above it is written by hand. */
const GENERATED = '-- generated from sql/ by npm run migration:refresh; edit above this line only';

/** Begins the next migration. Answers its file name. */
export async function begin(name: string, root: string = packageRoot()): Promise<string> {
  const migrations = await readMigrations(root);
  const open = migrations.find((migration) => migration.frozen === undefined);
  if (open !== undefined) throw new Error(`${open.file} is not released yet: write into that one`);
  const file = `${String(migrations.length + 1).padStart(4, '0')}_${name}.sql`;
  if (!FILE_NAME.test(file))
    throw new Error(`"${name}" is not a name of small letters, digits and _`);
  const head = '-- What changes tables and types that exist is written here by hand.\n';
  const text = migrations.length === 0 ? '' : `${head}\n`;
  await writeFile(
    join(root, 'migrations', file),
    generate(text, migrations, await readManifest(root)),
  );
  return file;
}

/** Brings the unreleased migration up to date. Answers its file name. */
export async function refresh(root: string = packageRoot()): Promise<string> {
  const migrations = await readMigrations(root);
  const open = migrations.at(-1);
  if (open === undefined || open.frozen !== undefined) {
    throw new Error('every migration is released: begin the next with npm run migration:new NAME');
  }
  const text = generate(handWritten(open), released(migrations), await readManifest(root));
  await writeFile(join(root, 'migrations', open.file), text);
  return open.file;
}

/** Marks the unreleased migration as released. Answers its file name. */
export async function freeze(root: string = packageRoot()): Promise<string> {
  const problems = await check(root);
  if (problems.length > 0) throw new Error(problems.join('\n'));
  const migrations = await readMigrations(root);
  const open = migrations.at(-1);
  if (open === undefined || open.frozen !== undefined) throw new Error('nothing to release');
  const lines = migrations.map(({ file, text }) => `${sha256(text)}  ${file}\n`);
  await writeFile(join(root, 'migrations', HASH_FILE), HASH_HEADER + lines.join(''));
  return open.file;
}

/** Answers what is wrong, a line each; nothing when all is well. */
export async function check(root: string = packageRoot()): Promise<string[]> {
  const problems: string[] = [];
  const migrations = await readMigrations(root);
  for (const [index, { file, text, frozen }] of migrations.entries()) {
    const number = FILE_NAME.exec(file)?.[1];
    if (number === undefined) problems.push(`${file}: not a name like 0001_install.sql`);
    else if (Number(number) !== index + 1) problems.push(`${file}: expected number ${index + 1}`);
    if (frozen !== undefined && frozen !== sha256(text)) {
      problems.push(`${file}: changed after its release; put the change into a new migration`);
    }
    if (DIRECTION_MARKER.test(text)) {
      problems.push(`${file}: node-pg-migrate takes a comment in it for an up or down marker`);
    }
    if (frozen === undefined && index < migrations.length - 1) {
      problems.push(`${file}: not released, although a later one is there`);
    }
  }
  for (const file of (await readHashes(root)).keys()) {
    if (!migrations.some((migration) => migration.file === file)) {
      problems.push(`${file}: released, but no longer there`);
    }
  }
  if (problems.length > 0) return problems;

  const parts = await readManifest(root);
  const open = migrations.at(-1);
  if (open !== undefined && open.frozen === undefined) {
    if (generate(handWritten(open), released(migrations), parts) !== open.text) {
      problems.push(`${open.file}: not what sql/ gives; run npm run migration:refresh`);
    }
  } else {
    const changed = changedParts(parts, migrations).map((part) => part.path);
    if (changed.length > 0) {
      problems.push(`no migration for ${changed.join(', ')}; run npm run migration:new NAME`);
    }
  }
  return problems;
}

/** The whole text of a migration that follows `earlier` and leads to what `parts` say. */
function generate(head: string, earlier: readonly Migration[], parts: readonly Part[]): string {
  const known = snapshot(earlier);
  const changed = changedParts(parts, earlier);
  const byHand = changed.filter((part) => known.has(part.path) && !isReplaceable(part));
  const included = parts.filter(
    (part) => part.path === GRANTS || (changed.includes(part) && !byHand.includes(part)),
  );
  return [
    head,
    `${GENERATED}\n`,
    ...byHand.map((part) => `-- by hand ${part.path} ${sha256(part.sql)}\n`),
    ...included.map((part) => `\n-- begin ${part.path}\n${part.sql}-- end ${part.path}\n`),
  ].join('');
}

/** Those that no earlier migration has brought to the state they are in. */
function changedParts(parts: readonly Part[], earlier: readonly Migration[]): Part[] {
  const known = snapshot(earlier);
  return parts.filter((part) => known.get(part.path) !== sha256(part.sql));
}

/** A body that can simply be run again; tables and types cannot be, once they are there. */
function isReplaceable({ path }: Part): boolean {
  return /^sql\/(functions|internal)\//.test(path) || path === GRANTS;
}

/** Hash of each file of `sql/` as the migrations leave it. */
function snapshot(migrations: readonly Migration[]): Map<string, string> {
  const state = new Map<string, string>();
  for (const { text } of migrations) {
    for (const [, path, sql] of text.matchAll(/^-- begin (\S+)\n([\s\S]*?)^-- end \1$/gm)) {
      if (path !== undefined && sql !== undefined) state.set(path, sha256(sql));
    }
    for (const [, path, hash] of text.matchAll(/^-- by hand (\S+) ([0-9a-f]{64})$/gm)) {
      if (path !== undefined && hash !== undefined) state.set(path, hash);
    }
  }
  return state;
}

function handWritten({ file, text }: Migration): string {
  const end = text.indexOf(GENERATED);
  if (end < 0) throw new Error(`${file}: the line "${GENERATED}" is missing`);
  return text.slice(0, end);
}

function released(migrations: readonly Migration[]): Migration[] {
  return migrations.filter((migration) => migration.frozen !== undefined);
}

async function readMigrations(root: string): Promise<Migration[]> {
  const hashes = await readHashes(root);
  // Whatever does not begin with a dot is a migration to node-pg-migrate, so it is one here.
  const files = (await readdir(join(root, 'migrations'))).filter((file) => !file.startsWith('.'));
  return Promise.all(
    files.sort().map(async (file) => ({
      file,
      text: await readFile(join(root, 'migrations', file), 'utf8'),
      frozen: hashes.get(file),
    })),
  );
}

async function readHashes(root: string): Promise<Map<string, string>> {
  const text = await readFile(join(root, 'migrations', HASH_FILE), 'utf8');
  const hashes = new Map<string, string>();
  for (const [, hash, file] of text.matchAll(/^([0-9a-f]{64}) {2}(\S+)$/gm)) {
    if (hash !== undefined && file !== undefined) hashes.set(file, hash);
  }
  return hashes;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

async function main([command, name]: readonly string[]): Promise<void> {
  switch (command) {
    case 'new':
      if (name === undefined) throw new Error('name the migration: npm run migration:new NAME');
      console.log(`migrations/${await begin(name)} begun`);
      break;
    case 'refresh':
      console.log(`migrations/${await refresh()} is up to date`);
      break;
    case 'freeze':
      console.log(`migrations/${await freeze()} is released`);
      break;
    case 'check': {
      const problems = await check();
      if (problems.length > 0) throw new Error(problems.join('\n'));
      console.log('migrations: as sql/ gives them, released ones untouched');
      break;
    }
    default:
      throw new Error('name a command: new NAME, refresh, freeze or check');
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) {
  await main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}
