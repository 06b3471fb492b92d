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

/**
 * Client.leaseJobs for a scheduler's own connection: of many jobs, each as cheap as can be. Payloads are
 * not parsed: they may be large and are for the handlers.
 */
export async function leaseUnparsed(link: Link, leasing: Leasing): Promise<UnparsedJob[]> {
  const { queues, workerId, limit, leaseMs, requestId } = leasing;
  try {
    const expectedMs = leaseMs ?? DEFAULTS.leaseMs;
    const found = await link.rows(
      `select ${UNPARSED_JOB} from leasehold.lease_jobs($1, $2, $3, $4, $5)`,
      [arrayOf(queues), workerId, limit, span(leaseMs), requestId, span(expectedMs)],
    );
    return found.map((row) => unparsedJob(row, expectedMs));
  } catch (error) {
    throw fromDriver(error);
  }
}
