import { fromDriver, fromHandshake, isPassing, LeaseholdError, schemaUnknown } from './errors.ts';
import { payloadJson, toJson, toText } from './json.ts';
import * as rows from './rows.ts';
import { type QueueSchemas, validate } from './standard-schema.ts';
import {
  array,
  arrayOf,
  bigint,
  boolean,
  documentArray,
  documents,
  instant,
  integer,
  interval,
  jsonb,
  type Parameter,
  sayable,
  span,
  text,
  uuid,
} from './statement.ts';
import type {
  AnyQueues,
  EnqueueOptions,
  HeartbeatAnswer,
  JobInfo,
  JobState,
  Lease,
  LeasedJob,
  NewJob,
  ParsedOf,
  PayloadOf,
  QueueName,
  QueueSettings,
  QueueStats,
  QueueTypes,
  ResultOf,
  ReturnedOf,
  Settlement,
  TickAnswer,
  WaitingMode,
  WorkerInfo,
} from './types.ts';

/** Schema versions this client works with, besides newer ones that say they serve it. */
export const KNOWN_SCHEMA_VERSIONS: readonly number[] = [1];

/**
 * Anything that runs a query: a pg pool, a pg client, the client of the caller's transaction. Another driver
 * takes a line of glue, since every parameter is text or null and every column is text, a number or a boolean:
 *
 * ```ts
 * // postgres.js, `sql` a pool or that of sql.begin()
 * { query: async (text, values) => ({ rows: await sql.unsafe(text, values) }) }
 * // Prisma, `prisma` a client or that of prisma.$transaction()
 * { query: async (text, values = []) => ({ rows: await prisma.$queryRawUnsafe(text, ...values) }) }
 * ```
 */
export interface Queryable {
  query(text: string, values?: (string | null)[]): Promise<{ rows: unknown[] }>;
}

export interface ClientOptions<Q extends QueueTypes<Q>> {
  /**
   * Validators of payloads, asked before a job is enqueued. They change nothing: the payload is stored as it
   * was given, for the worker's validator to make of it what the handler sees. @default none
   */
  readonly schemas?:
    | {
        readonly [N in QueueName<Q>]?:
          | QueueSchemas<PayloadOf<Q, N>, ResultOf<Q, N>, ParsedOf<Q, N>, ReturnedOf<Q, N>>
          | undefined;
      }
    | undefined;
}

export interface LeaseRequest {
  /** The process that asks: a new uuid at every boot. */
  readonly workerId: string;
  /** Most jobs to lease, 1 to 10,000. @default 1 */
  readonly limit?: number | undefined;
  /** Length of the leases, 1,000 to 86,400,000. @default each queue's */
  readonly leaseMs?: number | undefined;
  /** A new uuid for each call: repeating a call whose answer was lost returns the same leases. */
  readonly requestId?: string | undefined;
}

export interface Completion extends Lease {
  readonly result?: unknown;
}

export interface Failure extends Lease {
  /** What went wrong; cut to 16,384 characters. */
  readonly error?: string | undefined;
  /** Delay before the next attempt. @default the queue's backoff */
  readonly retryInMs?: number | undefined;
  /** false: do not try again. @default true */
  readonly retryable?: boolean | undefined;
}

export interface Release extends Lease {
  /** How long the job is to wait before it may run again. @default 0 */
  readonly delayMs?: number | undefined;
}

export interface DeadLetter extends Lease {
  /** Why the job is given up; cut to 16,384 characters. */
  readonly reason?: string | undefined;
}

export interface Renewal extends Lease {
  /** What the next attempt is to resume from; absent: leave the last one. */
  readonly checkpoint?: unknown;
}

/**
 * A method for every SQL function, on anything that has `query`. On the client of a transaction,
 * `enqueue`, `complete` and `assertLease` are part of that transaction.
 *
 * A method that ends in `Many` sends all it is given in one call: bound what results, errors or checkpoints weigh
 * together, a few MiB say, so that it arrives in time. A scheduler bounds its own calls.
 *
 * Every method rejects with a {@link LeaseholdError} for what leasehold refuses, and with the
 * driver's own error for everything else. `\df+ leasehold.[a-z]*` has the reference.
 */
export class Client<Q extends QueueTypes<Q> = AnyQueues> {
  readonly #db: Queryable;
  readonly #options: ClientOptions<Q>;
  #handshake: Promise<void> | undefined;

  constructor(db: Queryable, options: ClientOptions<Q> = {}) {
    this.#db = db;
    this.#options = options;
  }

  /** @internal A client on a connection whose schema was checked before. */
  static unchecked(db: Queryable): Client {
    const client = new Client(db);
    client.#handshake = Promise.resolve();
    return client;
  }

  /** The same client on another connection: that of the caller's transaction. */
  using(db: Queryable): Client<Q> {
    const client = new Client<Q>(db, this.#options);
    client.#handshake = this.#handshake;
    return client;
  }

  /** Rejects with `schema_missing` or `schema_unknown`, which tell how to migrate. Done once by itself. */
  checkSchema(): Promise<void> {
    this.#handshake ??= this.#checkVersion();
    // A failure is not remembered: the database may be migrated meanwhile.
    this.#handshake.catch(() => {
      this.#handshake = undefined;
    });
    return this.#handshake;
  }

  async #checkVersion(): Promise<void> {
    const version = await this.schemaVersion();
    if (KNOWN_SCHEMA_VERSIONS.includes(version)) return;
    const newest = Math.max(...KNOWN_SCHEMA_VERSIONS);
    // A newer schema says whom it serves; one that cannot be asked serves none but its own clients.
    const ifRefused = (error: unknown): number => {
      // That it could not be asked just now says nothing.
      if (isPassing(error)) throw error;
      return Infinity;
    };
    if (version > newest && (await this.oldestClient().catch(ifRefused)) <= newest) return;
    throw schemaUnknown(version, KNOWN_SCHEMA_VERSIONS);
  }

  async schemaVersion(): Promise<number> {
    try {
      const [row] = await this.#query('select leasehold.schema_version() as version', []);
      return Number(row?.version);
    } catch (error) {
      throw fromHandshake(error);
    }
  }

  /** The oldest schema version whose clients the database serves. */
  async oldestClient(): Promise<number> {
    const [row] = await this.#query('select leasehold.oldest_client() as version', []);
    return Number(row?.version);
  }

  // Queues

  async createQueue(queue: QueueName<Q>, settings: QueueSettings = {}): Promise<void> {
    refuseUnknown('setting', settings, SETTINGS);
    await this.#call(
      `select leasehold.create_queue(
        p_queue => ${text(1)}, p_lease => ${interval(2)}, p_max_failures => ${integer(3)},
        p_max_losses => ${integer(4)}, p_backoff_base => ${interval(5)},
        p_backoff_max => ${interval(6)}, p_max_runtime => ${interval(7)},
        p_time_to_live => ${interval(8)}, p_keep_completed => ${interval(9)},
        p_keep_dead => ${interval(10)}, p_max_payload_bytes => ${integer(11)})`,
      [
        queue,
        span(settings.leaseMs),
        settings.maxFailures,
        settings.maxLosses,
        span(settings.backoffBaseMs),
        span(settings.backoffMaxMs),
        span(settings.maxRuntimeMs),
        span(settings.timeToLiveMs),
        span(settings.keepCompletedMs),
        span(settings.keepDeadMs),
        settings.maxPayloadBytes,
      ],
    );
  }

  async pauseQueue(queue: QueueName<Q>): Promise<void> {
    await this.#call(`select leasehold.pause_queue(${text(1)})`, [queue]);
  }

  async resumeQueue(queue: QueueName<Q>): Promise<void> {
    await this.#call(`select leasehold.resume_queue(${text(1)})`, [queue]);
  }

  /** Removes up to `limit` jobs nobody works on; resolves to how many it removed. */
  async purgeQueue(
    queue: QueueName<Q>,
    options: { limit?: number | undefined } = {},
  ): Promise<number> {
    const [row] = await this.#call(
      `select leasehold.purge_queue(${text(1)}, ${integer(2)}) as purged`,
      [queue, options.limit ?? 10_000],
    );
    return Number(row?.purged);
  }

  async dropQueue(queue: QueueName<Q>): Promise<void> {
    await this.#call(`select leasehold.drop_queue(${text(1)})`, [queue]);
  }

  async queueStats(queue?: QueueName<Q>): Promise<QueueStats[]> {
    const found = await this.#call(
      `select ${rows.QUEUE_STAT} from leasehold.queue_stats(${text(1)})`,
      [queue],
    );
    return found.map(rows.queueStats);
  }

  // Produce

  /** Adds a job, in the transaction of this client's connection; resolves to its id. */
  async enqueue<N extends QueueName<Q>>(
    queue: N,
    payload: PayloadOf<Q, N>,
    options: EnqueueOptions = {},
  ): Promise<string> {
    const json = payloadJson(payload);
    await this.#validate(queue, json);
    // What is not given does not travel: each parameter costs the database some microseconds.
    const given = [
      ['queue', text, queue],
      ['payload', jsonb, json],
      ...optionsOf(options),
    ] as const;
    const parameters = given.map(([name, type], index) => `p_${name} => ${type(index + 1)}`);
    const [row] = await this.#call(
      `select leasehold.enqueue(${parameters.join(', ')})::pg_catalog.text as job_id`,
      given.map(([, , value]) => value),
    );
    return String(row?.job_id);
  }

  /** Adds up to 10,000 jobs, all or none; resolves to their ids in the order given. */
  async enqueueMany<N extends QueueName<Q>>(
    queue: N,
    jobs: readonly NewJob<PayloadOf<Q, N>>[],
  ): Promise<string[]> {
    const arePlain = this.#options.schemas?.[queue]?.payload === undefined && jobs.every(isPlain);
    const items: string[] = [];
    if (!arePlain) {
      for (const job of jobs) {
        if (typeof job !== 'object' || job === null) throw invalid('every job must be an object');
        const { payload, ...options } = job;
        const json = payloadJson(payload);
        await this.#validate(queue, json);
        const members = optionsOf(options).map(
          // As text, which enqueue is given as well: JSON has no word for what is not a number.
          ([name, type, value]) => `,"${name}":${type === jsonb ? value : JSON.stringify(value)}`,
        );
        items.push(`{"payload":${json}${members.join('')}}`);
      }
    }
    // Text, since an array is parsed character by character.
    const [row] = await this.#call(
      `select pg_catalog.array_to_string(
        leasehold.enqueue_many(${text(1)}, ${jsonb(2)}), ','
      ) as job_ids`,
      [queue, arePlain ? payloadJson(jobs) : `[${items.join()}]`],
    );
    return row?.job_ids ? String(row.job_ids).split(',') : [];
  }

  /** `requested`: the holder learns with its next heartbeat. */
  async cancel(
    jobId: string,
    reason?: string,
  ): Promise<'cancelled' | 'requested' | 'already_cancelled'> {
    const [row] = await this.#call(`select leasehold.cancel(${bigint(1)}, ${text(2)}) as status`, [
      jobId,
      reason === undefined ? undefined : toText(reason),
    ]);
    return row?.status as 'cancelled' | 'requested' | 'already_cancelled';
  }

  // Work

  /** Resolves to the ids by which notifications name the queues; undefined for one that does not exist. */
  async registerWorker(workerId: string, worker: WorkerInfo): Promise<(number | undefined)[]> {
    return (await this.announce(workerId, worker)).queueIds;
  }

  /** @internal The same, and what the database's clock says, as milliseconds since 1970. */
  async announce(
    workerId: string,
    worker: WorkerInfo,
  ): Promise<{ queueIds: (number | undefined)[]; nowMs: number }> {
    const [row] = await this.#call(
      `select pg_catalog.array_to_string(leasehold.register_worker(
        ${uuid(1)}, ${array('pg_catalog.text', 2)}, ${integer(3)}, ${text(4)}, ${integer(5)}, ${text(6)},
        ${uuid(7)}
      ), ',', '') as queue_ids, ${rows.NOW_MS} as now_ms`,
      [
        workerId,
        arrayOf(worker.queues),
        worker.concurrency,
        worker.host,
        worker.pid,
        worker.clientVersion,
        worker.secret,
      ],
    );
    const ids = String(row?.queue_ids ?? '').split(',');
    const queueIds = worker.queues.map((_, at) => (ids[at] ? Number(ids[at]) : undefined));
    return { queueIds, nowMs: Number(row?.now_ms) };
  }

  /** Resolves to whether it was removed: not while it holds leases. The secret is the one it registered with. */
  async retireWorker(workerId: string, secret?: string): Promise<boolean> {
    const [row] = await this.#call(
      `select leasehold.retire_worker(${uuid(1)}, ${uuid(2)})::pg_catalog.text as retired`,
      [workerId, secret],
    );
    return rows.flag(row?.retired);
  }

  /**
   * Sets how this connection's session waits for jobs; it listens on "leasehold". `backendPid` is the process id
   * that the server told the driver: `processID` of a `pg.Client`. Resolves to the session's bucket: of
   * announcements that name one, only those of that bucket concern it; to null, having changed nothing, if
   * another session is in the way, or watches.
   */
  async setWaiting(
    queues: readonly QueueName<Q>[],
    mode: WaitingMode,
    backendPid: number,
  ): Promise<number | null> {
    const [row] = await this.#call(
      `select leasehold.set_waiting(
         ${array('pg_catalog.text', 1)}, ${text(2)}, ${integer(3)})::pg_catalog.text as bucket`,
      [arrayOf(queues), mode, backendPid],
    );
    return row?.bucket ? Number(row.bucket) : null;
  }

  async leaseJobs<N extends QueueName<Q>>(
    queues: readonly N[],
    request: LeaseRequest,
  ): Promise<LeasedJob<PayloadOf<Q, N>>[]> {
    const found = await this.#call(
      `select ${rows.LEASED_JOB} from leasehold.lease_jobs(
        ${array('pg_catalog.text', 1)}, ${uuid(2)}, ${integer(3)}, ${interval(4)}, ${uuid(5)})`,
      [
        arrayOf(queues),
        request.workerId,
        request.limit ?? 1,
        span(request.leaseMs),
        request.requestId,
      ],
    );
    return found.map(rows.leasedJob<PayloadOf<Q, N>>);
  }

  async heartbeat(
    jobId: string,
    token: string,
    options: { extendMs?: number | undefined; checkpoint?: unknown } = {},
  ): Promise<HeartbeatAnswer> {
    const [row] = await this.#call(
      `select ${rows.HEARTBEAT_ANSWER} from leasehold.heartbeat(
        ${bigint(1)}, ${uuid(2)}, ${interval(3)}, ${jsonb(4)})`,
      [jobId, token, span(options.extendMs), document(options.checkpoint)],
    );
    return rows.heartbeatAnswer(row ?? {});
  }

  /** Renews up to 100,000 leases; answers in the order given. */
  async heartbeatMany(
    renewals: readonly Renewal[],
    options: { extendMs?: number | undefined } = {},
  ): Promise<HeartbeatAnswer[]> {
    const checkpoints = renewals.some((renewal) => renewal.checkpoint !== undefined)
      ? documents(renewals.map((renewal) => renewal.checkpoint))
      : undefined;
    const found = await this.#call(
      `select ${rows.HEARTBEAT_ANSWER} from leasehold.heartbeat_many(
        ${array('bigint', 1)}, ${array('pg_catalog.uuid', 2)}, ${interval(3)}, ${documentArray(4)})`,
      [...columns(renewals), span(options.extendMs), checkpoints],
    );
    return found.map(rows.heartbeatAnswer);
  }

  /** Holds the lease until the transaction of this client's connection ends. */
  async assertLease(jobId: string, token: string): Promise<void> {
    await this.#call(`select leasehold.assert_lease(${bigint(1)}, ${uuid(2)})`, [jobId, token]);
  }

  /** Rejects a result that cannot be stored, and changes nothing then. */
  async complete(jobId: string, token: string, result?: unknown): Promise<Settlement> {
    return this.#settle(`leasehold.complete(${bigint(1)}, ${uuid(2)}, ${jsonb(3)})`, [
      jobId,
      token,
      document(result),
    ]);
  }

  /** Completes up to 10,000 jobs; answers in the order given. */
  async completeMany(completions: readonly Completion[]): Promise<Settlement[]> {
    const results = completions.some((completion) => completion.result !== undefined)
      ? documents(completions.map((completion) => completion.result))
      : undefined;
    // Most are simply completed: only what is not travels.
    const exceptions = await this.#call(
      `select ordinality::integer, ${rows.SETTLEMENT}
       from leasehold.complete_many(
         ${array('bigint', 1)}, ${array('pg_catalog.uuid', 2)}, ${documentArray(3)}, true
       ) with ordinality
       where status operator(pg_catalog.<>) 'completed' or late`,
      [...columns(completions), results],
    );
    const settlements = completions.map(({ jobId }) => rows.completed(jobId));
    for (const row of exceptions) settlements[Number(row.ordinality) - 1] = rows.settlement(row);
    return settlements;
  }

  async fail(
    jobId: string,
    token: string,
    error?: string,
    options: { retryInMs?: number | undefined; retryable?: boolean | undefined } = {},
  ): Promise<Settlement> {
    return this.#settle(
      `leasehold.fail(${bigint(1)}, ${uuid(2)}, ${text(3)}, ${interval(4)}, ${boolean(5)})`,
      [
        jobId,
        token,
        error === undefined ? undefined : toText(error),
        span(options.retryInMs),
        options.retryable ?? true,
      ],
    );
  }

  /** Fails up to 10,000 jobs; answers in the order given. */
  async failMany(failures: readonly Failure[]): Promise<Settlement[]> {
    const found = await this.#call(
      `select ${rows.SETTLEMENT} from leasehold.fail_many(
        ${array('bigint', 1)}, ${array('pg_catalog.uuid', 2)},
        array(select pg_catalog.jsonb_array_elements_text(${jsonb(3)})),
        array(select pg_catalog.jsonb_array_elements_text(${jsonb(4)})::interval),
        ${array('boolean', 5)})`,
      [
        ...columns(failures),
        // An array that says null is read otherwise in some sessions; JSON is not.
        JSON.stringify(failures.map(({ error }) => (error === undefined ? null : toText(error)))),
        JSON.stringify(failures.map(({ retryInMs }) => span(retryInMs) ?? null)),
        arrayOf(failures.map(({ retryable }) => String(retryable ?? true))),
      ],
    );
    return found.map(rows.settlement);
  }

  async release(
    jobId: string,
    token: string,
    options: { delayMs?: number | undefined } = {},
  ): Promise<Settlement> {
    return this.#settle(`leasehold.release(${bigint(1)}, ${uuid(2)}, ${interval(3)})`, [
      jobId,
      token,
      span(options.delayMs ?? 0),
    ]);
  }

  /** Releases up to 10,000 jobs; answers in the order given. */
  async releaseMany(releases: readonly Release[]): Promise<Settlement[]> {
    const found = await this.#call(
      `select ${rows.SETTLEMENT} from leasehold.release_many(
        ${array('bigint', 1)}, ${array('pg_catalog.uuid', 2)}, ${array('interval', 3)})`,
      [...columns(releases), arrayOf(releases.map(({ delayMs }) => span(delayMs ?? 0)))],
    );
    return found.map(rows.settlement);
  }

  async deadLetter(jobId: string, token: string, reason?: string): Promise<Settlement> {
    return this.#settle(`leasehold.dead_letter(${bigint(1)}, ${uuid(2)}, ${text(3)})`, [
      jobId,
      token,
      reason === undefined ? undefined : toText(reason),
    ]);
  }

  /** Gives up to 10,000 jobs up; answers in the order given. */
  async deadLetterMany(letters: readonly DeadLetter[]): Promise<Settlement[]> {
    const found = await this.#call(
      `select ${rows.SETTLEMENT} from leasehold.dead_letter_many(
        ${array('bigint', 1)}, ${array('pg_catalog.uuid', 2)},
        array(select pg_catalog.jsonb_array_elements_text(${jsonb(3)})))`,
      [
        ...columns(letters),
        JSON.stringify(letters.map(({ reason }) => (reason === undefined ? null : toText(reason)))),
      ],
    );
    return found.map(rows.settlement);
  }

  // Look and repair

  /** Everything about a job. Its history before the page in hand is `historyBefore` its first attempt. */
  async job<N extends QueueName<Q>>(
    jobId: string,
    options: { historyBefore?: number } = {},
  ): Promise<JobInfo<PayloadOf<Q, N>, ResultOf<Q, N>>> {
    const [row] = await this.#call(
      `select ${rows.JOB_INFO} from leasehold.job(${bigint(1)}, ${integer(2)})`,
      [jobId, options.historyBefore],
    );
    return rows.jobInfo(row ?? {});
  }

  /** A page of a queue's jobs in one state; the next one is `after` its last job. */
  async peek<N extends QueueName<Q>>(
    queue: N,
    options: {
      state?: JobState | undefined;
      limit?: number | undefined;
      after?: string | undefined;
    } = {},
  ): Promise<JobInfo<PayloadOf<Q, N>, ResultOf<Q, N>>[]> {
    const found = await this.#call(
      `select ${rows.JOB_INFO} from leasehold.peek(
        ${text(1)}, ${text(2)}, ${integer(3)}, ${bigint(4)})`,
      [queue, options.state ?? 'ready', options.limit ?? 20, options.after],
    );
    return found.map(rows.jobInfo<PayloadOf<Q, N>, ResultOf<Q, N>>);
  }

  /** Puts dead jobs back in line: those named, or any of a queue; resolves to their ids. */
  async redrive(
    which: { jobIds: readonly string[] } | { queue: QueueName<Q> },
    options: { limit?: number | undefined } = {},
  ): Promise<string[]> {
    const found = await this.#call(
      `select redriven::pg_catalog.text as job_id
       from leasehold.redrive(${array('bigint', 1)}, ${text(2)}, ${integer(3)}) as redriven`,
      [
        'jobIds' in which ? arrayOf(which.jobIds) : undefined,
        'queue' in which ? which.queue : undefined,
        options.limit ?? 1000,
      ],
    );
    return found.map((row) => String(row.job_id));
  }

  // Maintain

  async promoteDue(options: { limit?: number | undefined } = {}): Promise<number> {
    const [row] = await this.#call(`select leasehold.promote_due(${integer(1)}) as done`, [
      options.limit ?? 1000,
    ]);
    return Number(row?.done);
  }

  async reapExpired(options: { limit?: number | undefined } = {}): Promise<number> {
    const [row] = await this.#call(`select leasehold.reap_expired(${integer(1)}) as done`, [
      options.limit ?? 1000,
    ]);
    return Number(row?.done);
  }

  async prune(options: { limit?: number | undefined } = {}): Promise<number> {
    const [row] = await this.#call(`select leasehold.prune(${integer(1)}) as done`, [
      options.limit ?? 10_000,
    ]);
    return Number(row?.done);
  }

  async tick(): Promise<TickAnswer> {
    const [row] = await this.#call(`select ${rows.TICK_ANSWER} from leasehold.tick()`, []);
    return rows.tickAnswer(row ?? {});
  }

  /** Judges what is stored, which is what the worker's validator will be given. */
  async #validate(queue: QueueName<Q>, json: string): Promise<void> {
    const schema = this.#options.schemas?.[queue]?.payload;
    if (schema !== undefined) await validate(schema, 'payload', JSON.parse(json));
  }

  async #settle(call: string, values: readonly Parameter[]): Promise<Settlement> {
    const [row] = await this.#call(`select ${rows.SETTLEMENT} from ${call}`, values);
    return rows.settlement(row ?? {});
  }

  async #call(text: string, values: readonly Parameter[]): Promise<rows.Row[]> {
    await this.checkSchema();
    return this.#query(text, values);
  }

  async #query(text: string, values: readonly Parameter[]): Promise<rows.Row[]> {
    try {
      const result = await this.#db.query(text, values.map(sayable));
      return result.rows as rows.Row[];
    } catch (error) {
      throw fromDriver(error);
    }
  }
}

/** What SQL calls the options of a job, and how each is said. */
const OPTIONS: {
  readonly [K in keyof EnqueueOptions]-?: readonly [
    name: string,
    type: (nth: number) => string,
    say: (value: NonNullable<EnqueueOptions[K]>) => Parameter,
  ];
} = {
  priority: ['priority', integer, Number],
  runAt: ['run_at', instant, (runAt) => runAt],
  delayMs: ['delay', interval, span],
  dedupKey: ['dedup_key', text, (key) => key],
  dedupWindowMs: ['dedup_window', interval, span],
  headers: ['headers', jsonb, payloadJson],
  maxFailures: ['max_failures', integer, Number],
  maxLosses: ['max_losses', integer, Number],
  maxRuntimeMs: ['max_runtime', interval, span],
  timeToLiveMs: ['time_to_live', interval, span],
};

const SETTINGS: { readonly [K in keyof QueueSettings]-?: true } = {
  leaseMs: true,
  maxFailures: true,
  maxLosses: true,
  backoffBaseMs: true,
  backoffMaxMs: true,
  maxRuntimeMs: true,
  timeToLiveMs: true,
  keepCompletedMs: true,
  keepDeadMs: true,
  maxPayloadBytes: true,
};

/** A word that nobody knows is a slip of the pen: with the default instead, the job would run as nobody meant. */
function refuseUnknown(what: string, given: object, known: object): void {
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(known, name)) {
      throw invalid(`there is no ${what} "${name}"; there are ${Object.keys(known).join(', ')}`);
    }
  }
}

/** The options that are given, each as SQL calls it. Which values they may have is for SQL to judge. */
function optionsOf(options: EnqueueOptions): [string, (nth: number) => string, string | null][] {
  refuseUnknown('option', options, OPTIONS);
  return (Object.keys(options) as (keyof EnqueueOptions)[])
    .filter((key) => options[key] !== undefined && options[key] !== null)
    .map((key) => {
      const [name, type, say] = OPTIONS[key];
      return [name, type, sayable((say as (value: unknown) => Parameter)(options[key]))];
    });
}

function invalid(message: string): LeaseholdError {
  return new LeaseholdError('invalid_argument', message);
}

/** Whether a job is an object of nothing but its payload, as most are: it is JSON as it stands. */
function isPlain(job: NewJob<unknown>): boolean {
  if (job?.payload === undefined || Object.getPrototypeOf(job) !== Object.prototype) return false;
  for (const key in job) if (key !== 'payload') return false;
  return true;
}

function document(value: unknown): string | null {
  return value === undefined ? null : toJson(value);
}

/** Ids and tokens as the two arrays that every batch function takes. */
function columns(leases: readonly Lease[]): [string, string] {
  return [arrayOf(leases.map(({ jobId }) => jobId)), arrayOf(leases.map(({ token }) => token))];
}
