import { fromDriver } from './errors.ts';
import type { Link } from './link.ts';
import { DEFAULTS } from './options.ts';
import { UNPARSED_JOB, type UnparsedJob, unparsedJob } from './rows.ts';
import { arrayOf, span } from './statement.ts';

export interface Leasing {
  readonly queues: readonly string[];
  readonly workerId: string;
  readonly limit: number;
  /** Undefined: that of each queue. */
  readonly leaseMs: number | undefined;
  readonly requestId: string;
}

export interface Leased {
  readonly jobs: readonly UnparsedJob[];
  /** Whether the limit, or how much an answer may weigh, has ended the call. */
  readonly mayBeMore: boolean;
}

/** An answer of this size may have ended for its weight: the next payload may be of a megabyte. */
const HEAVY_CHARS = 524_288;

/**
 * Client.leaseJobs for a scheduler's own connection: of many jobs, each as cheap as can be. Payloads are
 * not parsed: they may be large and are for the handlers.
 */
export async function leaseUnparsed(link: Link, leasing: Leasing): Promise<Leased> {
  const { queues, workerId, limit, leaseMs, requestId } = leasing;
  try {
    const expectedMs = leaseMs ?? DEFAULTS.leaseMs;
    const found = await link.rows(
      `select ${UNPARSED_JOB} from leasehold.lease_jobs($1, $2, $3, $4, $5)`,
      [arrayOf(queues), workerId, limit, span(leaseMs), requestId, span(expectedMs)],
    );
    const jobs = found.map((row) => unparsedJob(row, expectedMs));
    const isHeavy = jobs.reduce((sum, { payload }) => sum + payload.length, 0) >= HEAVY_CHARS;
    return { jobs, mayBeMore: jobs.length === limit || isHeavy };
  } catch (error) {
    throw fromDriver(error);
  }
}
