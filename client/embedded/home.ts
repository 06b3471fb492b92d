import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFile,
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type ServerUser, serverUser, usableBinaries } from './binaries.ts';
import { endOrphans, isAlive, postmaster, startOf } from './processes.ts';

const run = promisify(execFile);

/** What one server has on disk, ready to be started. */
export interface Home {
  readonly dir: string;
  /** The data folder, resolved: `dir/data` may be a link to it. */
  readonly data: string;
  readonly logFile: string;
  readonly binaries: string;
  readonly user: ServerUser;
  readonly password: string;
  /** Everything in `dir`, or linked from it, that was made for the server. */
  readonly contents: readonly string[];
}

/**
 * Opens the folder for this process alone, and makes a cluster in it unless there is one.
 *
 * ```
 * dir/owner.json     the process that uses the folder
 * dir/postgres.log
 * dir/data           the cluster, or a link to it when `dir` is out of the server's reach
 * dir/postgres       a copy of the binaries, when those are out of the server's reach
 * ```
 */
export async function openHome(dir: string, source: string): Promise<Home> {
  await mkdir(dir, { recursive: true });
  await takeOwnership(dir);
  try {
    const { base, user } = await settle(dir);
    const binaries = await usableBinaries(source, base, user);
    const link = join(dir, 'data');
    if (await exists(link)) await endEarlierRun(await realpath(link));
    else await createCluster(base, link, binaries, user);
    const data = await realpath(link);
    const logFile = join(dir, 'postgres.log');
    await writeFile(logFile, '');
    return {
      dir,
      data,
      logFile,
      binaries,
      user,
      password: await readFile(join(data, PASSWORD_FILE), 'utf8'),
      contents: [
        ...(base === dir ? [] : [base]),
        ...[link, join(dir, 'postgres'), logFile, ownerFile(dir)],
      ],
    };
  } catch (error) {
    await leaveHome(dir);
    throw error;
  }
}

/** Lets go of the folder. */
export async function leaveHome(dir: string): Promise<void> {
  await rm(ownerFile(dir), { force: true });
}

/** Removes all that was made for the server, and the folder unless it holds something else. */
export async function removeHome(home: Home): Promise<void> {
  for (const path of home.contents) await rm(path, { recursive: true, force: true });
  await rmdir(home.dir).catch(() => undefined);
}

/** Travels with the data, whose users it opens the door to. */
const PASSWORD_FILE = 'leasehold.password';

const ownerFile = (dir: string) => join(dir, 'owner.json');

async function takeOwnership(dir: string): Promise<void> {
  const owner = { pid: process.pid, start: await startOf(process.pid) };
  for (;;) {
    try {
      await writeFile(ownerFile(dir), JSON.stringify(owner), { flag: 'wx' });
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const current = await readOwner(dir);
    if (current !== undefined && (await startOf(current.pid)) === current.start) {
      throw new Error(`${dir} is in use by process ${current.pid}`);
    }
    // Its owner was killed. The pid may belong to another process by now, which has another start.
    await rm(ownerFile(dir), { force: true });
  }
}

async function readOwner(dir: string): Promise<{ pid: number; start?: string } | undefined> {
  try {
    return JSON.parse(await readFile(ownerFile(dir), 'utf8'));
  } catch {
    return undefined;
  }
}

/** Finds the folder that holds the cluster, and the account that can work in it. */
async function settle(dir: string): Promise<{ base: string; user: ServerUser }> {
  const link = join(dir, 'data');
  const existing = await realpath(link).catch(() => undefined);
  if (existing !== undefined) {
    const { uid, gid } = await stat(existing);
    // The account of an earlier day may not be the one that would be chosen today.
    return { base: dirname(existing), user: process.getuid?.() === 0 ? { uid, gid } : {} };
  }
  // A link to a temporary folder that has been cleaned away.
  await rm(link, { force: true });
  const user = await serverUser();
  if (await canEnter(dir, user)) return { base: dir, user };
  const base = await mkdtemp(join(tmpdir(), 'leasehold-'));
  await chmod(base, 0o711);
  return { base, user };
}

async function canEnter(dir: string, user: ServerUser): Promise<boolean> {
  return run('/bin/sh', ['-c', 'test -x "$1"', 'sh', dir], { ...user, cwd: '/' }).then(
    () => true,
    () => false,
  );
}

/** The cluster appears under its name when it is complete, so a start that was killed leaves none. */
async function createCluster(
  base: string,
  link: string,
  binaries: string,
  user: ServerUser,
): Promise<void> {
  const data = join(base, 'data');
  const half = join(base, 'data.part');
  const passwordFile = join(base, 'password.part');
  await rm(half, { recursive: true, force: true });
  await mkdir(half, { mode: 0o700 });
  await rm(passwordFile, { force: true });
  await writeFile(passwordFile, randomBytes(16).toString('hex'), { mode: 0o600 });
  await handOver(passwordFile, user);
  await handOver(half, user);
  await run(
    join(binaries, 'bin', 'initdb'),
    [
      ...[`--pgdata=${half}`, '--username=postgres', `--pwfile=${passwordFile}`],
      ...['--auth=scram-sha-256', '--encoding=UTF8', '--no-locale', '--no-sync'],
    ],
    { ...user, cwd: '/', env: { ...process.env, LC_ALL: 'C' } },
  );
  await appendFile(join(half, 'postgresql.conf'), `include '${SETTINGS_FILE}'\n`);
  await rename(passwordFile, join(half, PASSWORD_FILE));
  await rename(half, data);
  if (data !== link) await symlink(data, link);
}

/** Writes the settings that the next start goes by. */
export async function writeSettings({ data, user }: Home, settings: string): Promise<void> {
  const file = join(data, SETTINGS_FILE);
  await writeFile(file, settings, { mode: 0o600 });
  await handOver(file, user);
}

const SETTINGS_FILE = 'leasehold.conf';

/** What root made is of no use to the server's account, least of all under a strict umask. */
async function handOver(path: string, { uid, gid }: ServerUser): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
}

async function endEarlierRun(data: string): Promise<void> {
  await endOrphans(data);
  // The lock file of a killed server may name a process that has nothing to do with it, and then
  // PostgreSQL would refuse to start. No process works in the folder any more, so the file is stale.
  const named = await postmaster(data);
  if (process.platform === 'linux' && named !== undefined && isAlive(named.pid)) {
    await rm(join(data, 'postmaster.pid'));
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
