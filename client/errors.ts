/** The SQLSTATEs that the SQL functions raise, by the code this client gives them. */
export const SQLSTATES = {
  lease_lost: 'LH001',
  job_not_found: 'LH002',
  job_cancelled: 'LH003',
  job_finished: 'LH004',
  queue_not_found: 'LH005',
  isolation_not_supported: 'LH006',
  read_only: 'LH007',
  payload_too_large: 'LH008',
  queue_not_empty: 'LH009',
  invalid_argument: '22023',
} as const;

/** What went wrong. The first ten come from the database, see {@link SQLSTATES}. */
export type ErrorCode =
  | keyof typeof SQLSTATES
  /** The database has no leasehold: migrate it. */
  | 'schema_missing'
  /** The database has a leasehold this client does not know: migrate it, or update the client. */
  | 'schema_unknown'
  /** Of ctx.transaction: it was not committed, so nothing of it is there, and the job is not completed by it. */
  | 'effects_not_committed'
  /** A payload or result is not what its schema says. */
  | 'invalid_payload'
  /** The database did not answer in time; whether it did what was asked is not known. */
  | 'deadline_exceeded'
  /** The scheduler has stopped. */
  | 'stopped'
  /** A peer package that the chosen option needs is not installed. */
  | 'peer_missing'
  /** The module of a handler is not there, does not load in a worker thread, or exports no function. */
  | 'handler_unavailable';

const CODES = new Map<string, ErrorCode>([
  ...Object.entries(SQLSTATES).map(([code, state]) => [state, code as ErrorCode] as const),
  ['3F000', 'schema_missing'],
]);

/** SQLSTATE classes of errors that pass by themselves: connection, rollback, resources, shutdown, I/O. */
const PASSING_CLASSES = new Set(['08', '40', '53', '57', '58']);
/** … and single ones: lock not available, and a server that is (still, or again) a standby. */
const PASSING_STATES = new Set(['55P03', '25006', SQLSTATES.read_only]);

/** The one error class of leasehold. Match `code`; the driver's error is the `cause`. */
export class LeaseholdError extends Error {
  override readonly name = 'LeaseholdError';
  readonly code: ErrorCode;
  /** The SQLSTATE, where the database raised it. */
  readonly sqlstate: string | undefined;
  /** What to do about it, where there is something to say. */
  readonly hint: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; sqlstate?: string; hint?: string | undefined } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.sqlstate = options.sqlstate;
    this.hint = options.hint;
  }
}

const MIGRATE_HINT = 'Run "npx leasehold migrate" against this database, with its owner.';

/** Turns a driver's error into ours where it is one of leasehold's, and passes any other through. */
export function fromDriver(error: unknown): unknown {
  const sqlstate = sqlstateOf(error);
  const code =
    sqlstate === undefined
      ? undefined
      : (CODES.get(sqlstate) ??
        // An id that is no number, say, found by a cast before the function could judge it.
        (ITEM_CLASSES.has(sqlstate.slice(0, 2)) ? 'invalid_argument' : undefined));
  if (sqlstate === undefined || code === undefined) return error;

  const { message, hint } = error as { message: string; hint?: string };
  return new LeaseholdError(code, message, {
    cause: error,
    sqlstate,
    hint: code === 'schema_missing' ? MIGRATE_HINT : hint,
  });
}

/** Of a call that tells whether leasehold is there: no such function means that it is not, elsewhere it may be a slip. */
export function fromHandshake(error: unknown): unknown {
  if (sqlstateOf(error) !== '42883') return error;
  return new LeaseholdError('schema_missing', 'the schema leasehold has no version', {
    cause: error,
    sqlstate: '42883',
    hint: MIGRATE_HINT,
  });
}

/** The schema is of a version this client does not know. */
export function schemaUnknown(version: number, known: readonly number[]): LeaseholdError {
  const newer = version > Math.max(...known);
  return new LeaseholdError(
    'schema_unknown',
    `the leasehold schema has version ${version}, this client knows ${known.join(', ')}`,
    { hint: newer ? 'Update the leasehold package of this process.' : MIGRATE_HINT },
  );
}

/**
 * Whether the same call may succeed later: the connection was lost, the server is restarting, a
 * lock or a resource was taken. Every call of leasehold may be repeated, see guarantee G5.
 */
export function isPassing(error: unknown): boolean {
  if (error instanceof LeaseholdError && error.code === 'deadline_exceeded') return true;
  const state = sqlstateOf(error);
  if (state !== undefined)
    return PASSING_CLASSES.has(state.slice(0, 2)) || PASSING_STATES.has(state);
  // Without a SQLSTATE it did not come from the server: the socket failed, or the driver gave up.
  return !(error instanceof LeaseholdError) && !(error instanceof TypeError);
}

/** SQLSTATE classes of errors about a value that was sent: data exception, program limit exceeded. */
const ITEM_CLASSES = new Set(['22', '54']);

/**
 * Whether an error is about the item that was sent, a value say: repeating the call cannot help it. Any
 * other error may pass: a right that is revoked, a login that is refused, an error that nobody knows.
 */
export function namesItem(error: unknown): boolean {
  const state = sqlstateOf(error);
  if (state === undefined)
    return error instanceof LeaseholdError && error.code === 'invalid_argument';
  return state === SQLSTATES.payload_too_large || ITEM_CLASSES.has(state.slice(0, 2));
}

/**
 * Whether another connection may reach a server that can do it: this one is read-only, as a standby is to which
 * the name led during a fail-over, or it ends its sessions.
 */
export function isOfServer(error: unknown): boolean {
  const state = sqlstateOf(error);
  return state === SQLSTATES.read_only || state === '25006' || state?.startsWith('57P0') === true;
}

/** The SQLSTATE of an error of the server. */
export function sqlstateOf(error: unknown): string | undefined {
  if (error instanceof LeaseholdError) return error.sqlstate;
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  // Node's own codes (ECONNRESET) have no five characters of this form.
  const { code } = error;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code)
    ? code
    : undefined;
}
