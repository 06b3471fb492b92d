import { fromDriver } from './errors.ts';
import type { Link } from './link.ts';
import { UNPARSED_JOB, type UnparsedJob, unparsedJob } from './rows.ts';
import { arrayOf, span } from './statement.ts';

export interface Leasing {
  readonly queues: readonly string[];
  readonly workerId: string;
  readonly limit: number;
  readonly leaseMs: number;
  readonly requestId: string;
}

/**
 * Client.leaseJobs for a scheduler's own connection: of many jobs, each as cheap as can be. Payloads are
 * not parsed: they may be large and are for the handlers.
 */
export async function leaseUnparsed(link: Link, leasing: Leasing): Promise<UnparsedJob[]> {
  const { queues, workerId, limit, leaseMs, requestId } = leasing;
  try {
    const found = await link.rows(
      `select ${UNPARSED_JOB} from leasehold.lease_jobs($1, $2, $3, $4, $5)`,
      [arrayOf(queues), workerId, limit, span(leaseMs), requestId],
    );
    return found.map((row) => unparsedJob(row, leaseMs));
  } catch (error) {
    throw fromDriver(error);
  }
}
