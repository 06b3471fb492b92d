import type pg from 'pg';
import type { Handler } from './context.ts';
import { LeaseholdError } from './errors.ts';
import type { SchedulerEvent } from './events.ts';
import type { Limit } from './shares.ts';
import type { QueueSchemas } from './standard-schema.ts';
import type { ThreadOptions } from './thread-runner.ts';
import type {
  CheckpointOf,
  ParsedOf,
  PayloadOf,
  QueueName,
  QueueTypes,
  ResultOf,
  ReturnedOf,
} from './types.ts';

/** A handler as a function of this process, or as a module to run in worker threads. */
export type HandlerOf<P, R, C = unknown, Parsed = P, Returned = R> =
  | Handler<Parsed, Returned, C>
  | ({ readonly handler: Handler<Parsed, Returned, C> } & HandlerSettings &
      QueueSchemas<P, R, Parsed, Returned>)
  | ({
      /** Module whose default export is the handler: it may block its thread for as long as it likes. */
      readonly module: URL;
    } & HandlerSettings &
      QueueSchemas<P, R, Parsed, Returned>);

/** What a scheduler may be told of one of its queues. */
export interface HandlerSettings {
  /** Most jobs of this queue at once, so that they leave slots to others. @default the scheduler's concurrency */
  readonly concurrency?: number | undefined;
}

/** Spans are whole milliseconds. */
export interface SchedulerOptions<Q extends QueueTypes<Q>> {
  /**
   * The database. The scheduler opens three connections to it, four where handlers end by the hundred, and up
   * to ten more while handlers use `transaction`.
   */
  readonly connection: string | pg.ClientConfig;
  /**
   * Where to LISTEN, if not there: past a pooler, say. `false`: find jobs by polling only.
   * @default connection
   */
  readonly listenConnection?: string | pg.ClientConfig | false | undefined;
  /** The handler of each queue. Jobs are leased from these queues only. */
  readonly handlers: {
    readonly [N in QueueName<Q>]?:
      | HandlerOf<
          PayloadOf<Q, N>,
          ResultOf<Q, N>,
          CheckpointOf<Q, N>,
          ParsedOf<Q, N>,
          ReturnedOf<Q, N>
        >
      | undefined;
  };
  /**
   * Most handlers that run at once, of all queues together, 1 to 100,000. A job keeps its slot until the
   * database has taken its outcome. @default 10
   */
  readonly concurrency?: number | undefined;
  /** Length of every lease, 1,000 to 86,400,000. @default that of each queue, which is 60_000 unless set */
  readonly leaseMs?: number | undefined;
  /**
   * Time between renewals; without leaseMs, the longest: of the leases that are held the shortest one counts.
   * @default a third of the lease, at most 60_000
   */
  readonly heartbeatMs?: number | undefined;
  /**
   * After this time without an acknowledged renewal the handler is told to stop; longer than two
   * heartbeats, shorter than the lease. Without leaseMs, the longest. @default five sixths of the lease
   */
  readonly renewDeadlineMs?: number | undefined;
  /** Longest time between two looks for jobs; the least is half of it. @default 1_000 */
  readonly pollMs?: number | undefined;
  /** Longest time without a notification before one is sent to see whether they arrive. @default 30_000 */
  readonly probeMs?: number | undefined;
  /**
   * Time between two rounds of maintenance (tick), up to ten times as long where there are more than four
   * workers; 0: left to others. @default 1_000
   */
  readonly maintenanceMs?: number | undefined;
  /** Shortest time between two calls that carry checkpoints. @default 1_000 */
  readonly checkpointMs?: number | undefined;
  /**
   * How long a handler may go on after its signal fired before its slot is reported stuck; a second at most
   * once stop() has fired it. @default 5_000
   */
  readonly cancelGraceMs?: number | undefined;
  /**
   * Longest time a call to the database may take; a heartbeat at first no more than half of heartbeatMs and
   * a third of what is left until renewDeadlineMs, so that two more fit. @default leaseMs, at most 10_000
   */
  readonly callTimeoutMs?: number | undefined;
  /** Longest time start() tries to reach the database before it rejects; Infinity: for ever. @default Infinity */
  readonly startTimeoutMs?: number | undefined;
  /** Whether stop() releases jobs whose handlers ignore their signal, so that they may run twice. @default false */
  readonly releaseStuck?: boolean | undefined;
  /** Worker threads, for handlers that are modules. @default as many as concurrency */
  readonly threads?: ThreadOptions | undefined;
  /** Told everything that happens. What it throws is ignored. @default nobody */
  readonly onEvent?: ((event: SchedulerEvent) => void) | undefined;
}

export const DEFAULTS = {
  concurrency: 10,
  leaseMs: 60_000,
  pollMs: 1_000,
  probeMs: 30_000,
  maintenanceMs: 1_000,
  checkpointMs: 1_000,
  cancelGraceMs: 5_000,
  graceMs: 30_000,
  maxHeartbeatMs: 60_000,
  maxCallTimeoutMs: 10_000,
  startTimeoutMs: Infinity,
} as const;

/** The spans and numbers of a scheduler, checked, with every default filled in. */
export interface Timing {
  readonly concurrency: number;
  /** Undefined: that of each queue. */
  readonly leaseMs: number | undefined;
  /** How often a lease of this length is renewed. */
  readonly heartbeatOf: (leaseMs: number) => number;
  /** How long after its last renewal the handler is told to stop. */
  readonly renewDeadlineOf: (leaseMs: number) => number;
  readonly pollMs: number;
  readonly probeMs: number;
  readonly maintenanceMs: number;
  readonly checkpointMs: number;
  readonly cancelGraceMs: number;
  readonly callTimeoutMs: number;
  readonly startTimeoutMs: number;
}

/** Throws `invalid_argument` where the lengths leave no room for two lost heartbeats. */
export function timingOf<Q extends QueueTypes<Q>>(options: SchedulerOptions<Q>): Timing {
  const leaseMs = optional('leaseMs', options.leaseMs, 1_000, 86_400_000);
  const heartbeatMs = optional('heartbeatMs', options.heartbeatMs, 100, 86_400_000);
  const renewDeadlineMs = optional('renewDeadlineMs', options.renewDeadlineMs, 100, 86_400_000);
  // What is said beside the length of the leases holds as it is, what is said without it as far as they allow.
  const isNamed = leaseMs !== undefined;
  const renewDeadlineOf = (ms: number): number =>
    isNamed && renewDeadlineMs !== undefined
      ? renewDeadlineMs
      : Math.min(renewDeadlineMs ?? Infinity, (ms * 5) / 6);
  const heartbeatOf = (ms: number): number =>
    isNamed && heartbeatMs !== undefined
      ? heartbeatMs
      : Math.min(heartbeatMs ?? DEFAULTS.maxHeartbeatMs, renewDeadlineOf(ms) * 0.4);

  if (isNamed && renewDeadlineOf(leaseMs) >= leaseMs) {
    throw invalid(
      `renewDeadlineMs must be shorter than leaseMs, so that the handler stops before anyone else starts: got ${renewDeadlineMs} and ${leaseMs}`,
    );
  }
  const [everyMs, mostMs] = isNamed
    ? [heartbeatOf(leaseMs), renewDeadlineOf(leaseMs)]
    : [heartbeatMs ?? 0, renewDeadlineMs ?? Infinity];
  if (everyMs * 2 >= mostMs) {
    throw invalid(
      `heartbeatMs must leave room for two lost heartbeats before renewDeadlineMs: got ${everyMs} and ${mostMs}`,
    );
  }
  return {
    concurrency: whole('concurrency', options.concurrency ?? DEFAULTS.concurrency, 1, 100_000),
    leaseMs,
    heartbeatOf,
    renewDeadlineOf,
    pollMs: between('pollMs', options.pollMs ?? DEFAULTS.pollMs, 10, 3_600_000),
    probeMs: between('probeMs', options.probeMs ?? DEFAULTS.probeMs, 100, 3_600_000),
    maintenanceMs: between(
      'maintenanceMs',
      options.maintenanceMs ?? DEFAULTS.maintenanceMs,
      0,
      3_600_000,
    ),
    checkpointMs: between(
      'checkpointMs',
      options.checkpointMs ?? DEFAULTS.checkpointMs,
      0,
      3_600_000,
    ),
    cancelGraceMs: between(
      'cancelGraceMs',
      options.cancelGraceMs ?? DEFAULTS.cancelGraceMs,
      0,
      3_600_000,
    ),
    callTimeoutMs: between(
      'callTimeoutMs',
      options.callTimeoutMs ?? Math.min(leaseMs ?? Infinity, DEFAULTS.maxCallTimeoutMs),
      50,
      3_600_000,
    ),
    startTimeoutMs: between(
      'startTimeoutMs',
      options.startTimeoutMs ?? DEFAULTS.startTimeoutMs,
      1,
      Infinity,
    ),
  };
}

const CONNECTION_STRING = /^(?:postgres|postgresql|socket):/i;

/** Throws `invalid_argument` for what cannot be a connection: an unset variable, or a pool, say. */
export function connectionOf(name: string, connection: unknown): string | pg.ClientConfig {
  if (typeof connection === 'string') {
    // The driver takes anything for the name of a host. What is wrong is not shown: it may hold a password.
    if (CONNECTION_STRING.test(connection) && URL.canParse(connection.replace('@/', '@host/'))) {
      return connection;
    }
    // A folder of sockets; or nothing, which is what PGHOST and its like say.
    if (connection === '' || connection.startsWith('/')) return connection;
    throw invalid(
      `${name} must be a URL such as postgres://user@host:5432/database`,
      'Characters of a password such as # / ? @ must be percent-encoded.',
    );
  }
  if (isObject(connection) && !(connection instanceof URL) && !('query' in connection)) {
    return connection;
  }
  const hint =
    isObject(connection) && 'query' in connection
      ? 'A scheduler opens connections of its own: pass what the pool was made with.'
      : undefined;
  throw invalid(
    `${name} must be a connection string or the options of a pg client, got ${shown(connection)}`,
    hint,
  );
}

/** A handler as given, of one of the forms that {@link HandlerOf} names. */
export type GivenHandler =
  | Handler
  | ({ readonly handler: Handler } & HandlerSettings & QueueSchemas)
  | ({ readonly module: URL } & HandlerSettings & QueueSchemas);

/** Throws `invalid_argument` for what cannot be a handler. */
export function handlersOf(handlers: unknown): [queue: string, handler: GivenHandler][] {
  if (!isObject(handlers)) throw invalid(`handlers must be an object, got ${shown(handlers)}`);
  const given = Object.entries(handlers).filter(([, handler]) => handler !== undefined);
  for (const [queue, handler] of given) {
    if (typeof handler === 'function') continue;
    const { handler: run, module }: { handler?: unknown; module?: unknown } = Object(handler);
    if (isObject(handler) && (module instanceof URL || typeof run === 'function')) {
      const { concurrency } = handler as HandlerSettings;
      if (concurrency !== undefined) {
        whole(`the concurrency of queue "${queue}"`, concurrency, 1, 100_000);
      }
      continue;
    }
    throw invalid(
      `the handler of queue "${queue}" must be a function, { handler: function } or { module: URL }, got ${shown(handler)}`,
      module === undefined
        ? undefined
        : "Name the module from where it is: { module: new URL('./render.js', import.meta.url) }.",
    );
  }
  if (given.length === 0) throw invalid('there must be a handler for at least one queue');
  return given as [string, GivenHandler][];
}

/** What bounds some of the queues besides the concurrency of all. */
export function limitsOf(
  handlers: readonly (readonly [queue: string, handler: GivenHandler])[],
  concurrency: number,
  threads: number | undefined,
): Limit[] {
  const limits = handlers.map(([queue, given]) => ({
    queues: [queue],
    max: (typeof given === 'function' ? undefined : given.concurrency) ?? Infinity,
  }));
  // Jobs that no thread is there for cannot start.
  const inThreads = handlers.filter(([, given]) => 'module' in given && given.module !== undefined);
  limits.push({ queues: inThreads.map(([queue]) => queue), max: threads ?? Infinity });
  return limits.filter(({ queues, max }) => queues.length > 0 && max < concurrency);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a value is, without what is in it: a connection has a password. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (!isObject(value)) return typeof value === 'string' ? 'a string' : String(value);
  const names = Object.keys(value).slice(0, 5).join(', ');
  const { constructor: made } = value;
  return made === undefined || made === Object ? `{ ${names} }` : `an object of class ${made.name}`;
}

function between(name: string, value: number, min: number, max: number): number {
  if (!(value >= min && value <= max)) {
    throw invalid(`${name} must be between ${min} and ${max}, got ${value}`);
  }
  return value;
}

function optional(
  name: string,
  value: number | undefined,
  min: number,
  max: number,
): number | undefined {
  return value === undefined ? undefined : between(name, value, min, max);
}

function whole(name: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value)) throw invalid(`${name} must be a whole number, got ${value}`);
  return between(name, value, min, max);
}

function invalid(message: string, hint?: string): LeaseholdError {
  return new LeaseholdError('invalid_argument', message, { hint });
}
