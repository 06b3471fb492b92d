import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

const STOP_TIMEOUT_MS = 30_000;
const ORPHAN_GRACE_MS = 10_000;
const POLL_MS = 20;

/** Sends the signal and resolves once the process has gone; one that will not go is killed. */
export async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exit;
  clearTimeout(timer);
}

/**
 * Ends what still runs in a data folder without a parent: the server of a program that was killed, or
 * the backends of a server that was killed. They get time to end by themselves first, since two
 * servers on one folder destroy it.
 */
export async function endOrphans(data: string): Promise<void> {
  const steps = [
    { signal: undefined, graceMs: 1_000 },
    { signal: 'SIGINT', graceMs: ORPHAN_GRACE_MS },
    { signal: 'SIGQUIT', graceMs: ORPHAN_GRACE_MS },
    { signal: 'SIGKILL', graceMs: ORPHAN_GRACE_MS },
  ] as const;
  for (const { signal, graceMs } of steps) {
    for (const pid of await processesIn(data)) if (signal !== undefined) kill(pid, signal);
    const deadline = performance.now() + graceMs;
    while (performance.now() < deadline) {
      if ((await processesIn(data)).length === 0) return;
      await sleep(POLL_MS);
    }
  }
  throw new Error(`an earlier PostgreSQL still runs in ${data} and cannot be ended`);
}

/**
 * A process of its own that waits for this one to end, in whatever way, and then ends the server. A
 * handler for signals would not be ours to install in a library, and could not see SIGKILL.
 */
export function guard(
  server: ChildProcess,
  disposable: { readonly dir: string; readonly contents: readonly string[] } | undefined,
): ChildProcess {
  const script = `
    read -r _
    pid=$1; dir=$2; shift 2
    kill -INT "$pid" || exit 0
    [ -n "$dir" ] || exit 0
    tries=0
    while [ $tries -lt 300 ] && kill -0 "$pid"; do
      sleep 0.1
      tries=$((tries + 1))
    done
    rm -rf -- "$@"
    rmdir -- "$dir"`;
  const paths = disposable === undefined ? [''] : [disposable.dir, ...disposable.contents];
  const child = spawn('/bin/sh', ['-c', script, 'guard', String(server.pid), ...paths], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.on('error', () => undefined);
  child.unref();
  return child;
}

/** The process that a data folder's `postmaster.pid` names, and the state it says it is in. */
export async function postmaster(
  data: string,
): Promise<{ pid: number; state: string } | undefined> {
  try {
    const lines = (await readFile(join(data, 'postmaster.pid'), 'utf8')).split('\n');
    return { pid: Number(lines[0]), state: lines[7]?.trim() ?? '' };
  } catch {
    return undefined;
  }
}

/** When the process started, in its system's own terms; undefined when there is no such process. */
export async function startOf(pid: number): Promise<string | undefined> {
  if (!isAlive(pid)) return undefined;
  if (process.platform !== 'linux') {
    return (await run('ps', ['-o', 'lstart=', '-p', String(pid)])).stdout.trim();
  }
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The second field is the program's name in brackets, which may hold anything; the third is the
  // state, Z for one that has ended and that nobody asked about yet; the 22nd is the start.
  const [state, ...fields] = status.slice(status.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' ? undefined : fields[18];
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** The server's processes all work in its data folder, which tells them from any other. */
async function processesIn(data: string): Promise<number[]> {
  if (process.platform === 'linux') {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
    const folders = await Promise.all(
      pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => undefined)),
    );
    return pids.filter((_, index) => folders[index] === data);
  }
  const pid = (await postmaster(data))?.pid;
  if (pid === undefined || !isAlive(pid)) return [];
  const { stdout } = await run('ps', ['-o', 'command=', '-p', String(pid)]);
  return stdout.includes(data) ? [pid] : [];
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended in the meantime.
  }
}
