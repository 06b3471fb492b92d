import { afterAll, inject } from 'vitest';
import type { EmbeddedServer, ServerSettings } from '../../client/embedded.ts';
import { installSql } from '../../scripts/manifest.ts';
import {
  cloneDatabase,
  createEmptyDatabase,
  databaseUrl,
  dropDatabase,
  startTemporary,
  withClient,
} from './server.ts';

export { databaseUrl, withClient } from './server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Connection string of the run's server, and the name of the database to clone. */
    server: { readonly url: string; readonly template: string };
    /** The program of a worker process, as JavaScript. */
    worker: string;
  }
}

/**
 * A fresh database with schema leasehold, dropped after the file's tests. For the top of a test file:
 *
 * ```ts
 * const url = await createDatabase();
 * ```
 */
export async function createDatabase(): Promise<string> {
  const { url, template } = inject('server');
  return dropLater(url, await cloneDatabase(url, template));
}

/** A fresh database with nothing in it, dropped after the file's tests. */
export async function createBareDatabase(): Promise<string> {
  const { url } = inject('server');
  return dropLater(url, await createEmptyDatabase(url));
}

/**
 * A server of the test file's own, to restart and to kill, with schema leasehold in its database.
 * Stopped after the file's tests.
 */
export async function createServer(settings: ServerSettings = {}): Promise<EmbeddedServer> {
  const server = await startTemporary(settings);
  afterAll(() => server.stop());
  await withClient(server.url, async (client) => client.query(await installSql()));
  return server;
}

function dropLater(url: string, name: string): string {
  afterAll(() => dropDatabase(url, name));
  return databaseUrl(url, name);
}
