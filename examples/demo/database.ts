/* Where the jobs are: an embedded PostgreSQL, or a server of the user's. */
import { relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { startEmbedded } from '../../client/embedded.ts';

export interface Database {
  readonly url: string;
  /** Where it is, in a few words. */
  readonly place: string;
  /** Takes the database away from everybody for a moment; resolves once it is back. */
  disturb(): Promise<Disturbance>;
  stop(): Promise<void>;
}

/** What disturb() did, as the database saw it. */
export interface Disturbance {
  readonly restarted: boolean;
  readonly sessionsEnded: number;
  readonly tookMs: number;
}

/** Folder of the embedded server. */
export const SERVER_FOLDER = resolve('.leasehold');

/** `name` is how the application_name of every session of this run begins. */
export async function openDatabase(url: string | undefined, name: string): Promise<Database> {
  if (url) {
    const unnamed = withoutName(url);
    return {
      url: unnamed,
      place: 'the server of DATABASE_URL',
      disturb: () => disturb(unnamed, name, () => endSessions(unnamed, name)),
      stop: async () => undefined,
    };
  }
  const server = await startEmbedded({ dir: SERVER_FOLDER });
  return {
    url: server.url,
    place: `the embedded PostgreSQL of ${relative('', SERVER_FOLDER)}, port ${server.port}`,
    disturb: () => disturb(server.url, name, () => server.restart()),
    stop: () => server.stop(),
  };
}

/** A name in the connection string would win over the one that tells the sessions of this run. */
function withoutName(url: string): string {
  if (!URL.canParse(url)) return url;
  const unnamed = new URL(url);
  unnamed.searchParams.delete('application_name');
  return unnamed.href;
}

/** Runs one query on a connection of its own, which may not be there yet. */
async function ask<R extends pg.QueryResultRow>(url: string, text: string, values: unknown[]) {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<R>(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** Sessions are told apart by pid and start: a pid may come again. */
const SESSIONS = `
  select pg_postmaster_start_time()::text as server, array(
    select pid || ' ' || backend_start from pg_stat_activity
    where starts_with(application_name, $1) and pid <> pg_backend_pid()
  ) as sessions`;

async function disturb(
  url: string,
  name: string,
  strike: () => Promise<unknown>,
): Promise<Disturbance> {
  const look = () => ask<{ server: string; sessions: string[] }>(url, SESSIONS, [name]);
  const [before] = await look();
  const began = performance.now();
  await strike();
  let [after] = await look().catch(() => []);
  while (after === undefined) {
    await sleep(50);
    [after] = await look().catch(() => []);
  }
  const left = new Set(after.sessions);
  return {
    restarted: before?.server !== after.server,
    sessionsEnded: before?.sessions.filter((session) => !left.has(session)).length ?? 0,
    tookMs: performance.now() - began,
  };
}

async function endSessions(url: string, name: string): Promise<void> {
  await ask(
    url,
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity
     where starts_with(application_name, $1) and pid <> pg_backend_pid()`,
    [name],
  );
}
