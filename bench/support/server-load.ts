import { execFileSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import type pg from 'pg';
import { numberOf } from './sql-worker.ts';

/** What a server has done since it started. The difference of two is what it did in between. */
export interface ServerLoad {
  /** Transactions committed in the database of the connection. */
  readonly commits: number;
  /** CPU time of all processes of the server, those that have ended included. */
  readonly cpuSeconds: number;
}

export async function serverLoad(client: pg.Client): Promise<ServerLoad> {
  const commits = await numberOf(
    client,
    'select xact_commit from pg_stat_database where datname = current_database()',
  );
  return { commits, cpuSeconds: await cpuSeconds(client) };
}

/** The server must run on this machine, which must be Linux. */
async function cpuSeconds(client: pg.Client): Promise<number> {
  const backend = await processStat(await numberOf(client, 'select pg_backend_pid()'));
  const postmaster = backend?.parent ?? 0;
  for (;;) {
    const before = await processStat(postmaster);
    const children = await childrenOf(postmaster);
    const after = await processStat(postmaster);
    if (before === undefined || after === undefined) {
      throw new Error('the CPU time of the server can only be read in /proc of its own machine');
    }
    // A child that ended in between was counted as alive, as dead, or not at all: look again.
    if (before.deadChildrenTicks !== after.deadChildrenTicks) continue;
    const ticks = [after, ...children].reduce((sum, { ownTicks }) => sum + ownTicks, 0);
    return (ticks + after.deadChildrenTicks) / ticksPerSecond();
  }
}

async function childrenOf(parent: number): Promise<ProcessStat[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const stats = await Promise.all(pids.map(processStat));
  return stats.filter((stat) => stat !== undefined).filter((stat) => stat.parent === parent);
}

interface ProcessStat {
  readonly parent: number;
  readonly ownTicks: number;
  readonly deadChildrenTicks: number;
}

/** Undefined for a process that has ended. */
async function processStat(pid: number): Promise<ProcessStat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // The second field is the program's name in brackets, which may hold anything; the third comes first.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
  if (fields === undefined) return undefined;
  const [, parent, , , , , , , , , , utime, stime, cutime, cstime] = fields.map(Number);
  return {
    parent: parent ?? 0,
    ownTicks: (utime ?? 0) + (stime ?? 0),
    deadChildrenTicks: (cutime ?? 0) + (cstime ?? 0),
  };
}

let knownTicksPerSecond: number | undefined;

function ticksPerSecond(): number {
  knownTicksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return knownTicksPerSecond;
}
