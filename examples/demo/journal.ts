/* What the workers said, kept for the report. */
import type { SchedulerEvent } from '../../client/index.ts';
import type { WorkerProcess } from './workers.ts';

export interface Refusal {
  readonly worker: WorkerProcess;
  readonly jobId: string;
  readonly status: string;
}

export class Journal {
  /** How many events there were: while it grows, something happens. */
  length = 0;
  /** Outcomes that the database refused, since somebody else had the job. */
  readonly refusals: Refusal[] = [];
  /** Workers that ended although nobody had asked them to. */
  readonly crashes: string[] = [];
  /** The attempts whose completion was confirmed, by job. */
  readonly completions = new Map<string, Set<number>>();
  /** What handlers threw. */
  readonly failures: string[] = [];

  record(worker: WorkerProcess, event: SchedulerEvent): void {
    this.length += 1;
    switch (event.type) {
      case 'outcome:refused':
        this.refusals.push({ worker, jobId: event.jobId, status: event.status });
        break;
      case 'job:settled':
        if (/completed$/.test(event.status)) {
          const attempts = this.completions.get(event.jobId) ?? new Set();
          this.completions.set(event.jobId, attempts.add(event.attempt));
        } else if (event.error !== undefined) {
          this.failures.push(event.error.split('\n', 1)[0] ?? '');
        }
        break;
    }
  }
}
