/* The table at the end. */
import type { Audit } from './audit.ts';
import { type Paint, printable, type Terminal, wrap } from './terminal.ts';

/** Most skipped files, and most failed checks, that are told one by one. */
const MAX_LINES = 10;

export function report(audit: Audit, terminal: Terminal): void {
  const rows: readonly (readonly [name: string, value: number, note: string, bad?: boolean])[] = [
    ['jobs', audit.jobs, 'enqueued, one a file'],
    [
      'attempts',
      audit.attempts,
      `leases granted: ${audit.expired} expired, the others ended in a completion or were handed back`,
    ],
    [
      'expired leases',
      audit.expired,
      `their worker was killed, frozen or starved, or the database away: ${audit.losses} were charged to the job as a loss, since it was its worker's only one`,
    ],
    [
      'resumed from a checkpoint',
      audit.resumed,
      `jobs whose last attempt went on where an earlier one had stopped: ${audit.chunksSaved} chunks were not done twice`,
    ],
    [
      'zombie writes refused',
      audit.refused,
      'completions under a lease that another worker had got meanwhile',
    ],
    [
      'duplicates',
      audit.duplicates,
      'rows in leasehold.finished beyond one a job, and jobs that two attempts were told to have completed',
      audit.duplicates > 0,
    ],
    ['lost', audit.lost, 'jobs enqueued but not completed', audit.lost > 0],
    [
      'equal to a direct run',
      audit.equal,
      'results that equal what this process computed without any queue',
      audit.equal + audit.skipped.size < audit.jobs,
    ],
  ];
  const widest = Math.max(...rows.map(([name]) => name.length));

  terminal.line();
  for (const [index, [name, value, , bad]] of rows.entries()) {
    const number = String(value).padStart(7);
    const paint: Paint = bad ? 'red' : 'bold';
    terminal.line(`  ${name.padEnd(widest)}${terminal.paint(number, paint)}  (${index + 1})`);
  }
  terminal.line();
  for (const [index, [, , note]] of rows.entries()) {
    const text = wrap(`  (${index + 1}) ${note}`, terminal.width - 1, '      ');
    terminal.line(terminal.paint(text, 'dim'));
  }
  terminal.line();

  if (audit.skipped.size > 0) {
    list(
      terminal,
      [...audit.skipped].map(([path, why]) => `skipped ${printable(path)}: ${why}`),
      'yellow',
    );
  }
  if (audit.broken.length === 0) {
    terminal.line(
      terminal.paint('Every job finished exactly once, with the right result.', 'green'),
    );
  } else {
    list(
      terminal,
      audit.broken.map((what) => `FAILED: ${what}`),
      'red',
    );
  }
}

function list(terminal: Terminal, lines: readonly string[], paint: Paint): void {
  for (const line of lines.slice(0, MAX_LINES)) terminal.line(terminal.paint(line, paint));
  if (lines.length > MAX_LINES) {
    terminal.line(terminal.paint(`… and ${lines.length - MAX_LINES} more`, paint));
  }
}
