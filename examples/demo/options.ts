/* What the command line says. */
import { parseArgs } from 'node:util';

export const HELP = `Real work on real workers, some of which come to grief: the demonstration of leasehold.

Usage:
  npm start -- [DIR] [options]        in a checkout
  npx leasehold demo [DIR]            where it is installed

Makes a job of every file below DIR: compress it at the highest level and hash it, chunk by chunk, with a
checkpoint after each. Three worker processes share the jobs; one is killed, one is frozen and thawed when
others have its jobs, and PostgreSQL is restarted. Every result is compared with a direct computation.

  DIR           default: node_modules of this folder, a few hundred of its larger files
  --files N     take at most N files, an even sample of all sizes
  --seconds N   take as many files as the work and its checking can do in about N seconds; a tree that is
                too small for that has its chunks hashed more often. Default: 12; with DIR that is the
                least, and all files are taken, however long it lasts
  -h, --help    show this text

The database is an embedded PostgreSQL in the folder .leasehold; delete the folder to be rid of it. With
DATABASE_URL it is that server, which is not restarted: all sessions of the demonstration are terminated
instead. Each run has a queue of its own, whose finished jobs stay for a day:

  select * from leasehold.peek('QUEUE', 'completed');

Exit status: 0 every job finished exactly once, with the right result, and every fault took place;
1 something does not hold; 2 not understood; 130 interrupted.
`;

export class UsageError extends Error {}

export interface Options {
  readonly help: boolean;
  readonly folder: string | undefined;
  readonly files: number;
  readonly minSeconds: number;
  readonly maxSeconds: number;
}

/** Processes to start, leases that have to expire: the whole takes twice as long, on a busy machine more. */
const DEFAULTS = { files: 240, seconds: 12 } as const;

export function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parse(args);
  const [folder, ...rest] = positionals;
  if (rest.length > 0) throw new UsageError('name one folder at most');
  const files = number('files', values.files, 1, 100_000);
  const seconds = number('seconds', values.seconds, 1, 86_400);
  return {
    help: values.help ?? false,
    folder,
    files: files ?? (folder === undefined ? DEFAULTS.files : Infinity),
    minSeconds: seconds ?? DEFAULTS.seconds,
    maxSeconds: seconds ?? (folder === undefined ? DEFAULTS.seconds : Infinity),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        files: { type: 'string' },
        seconds: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function number(
  name: string,
  text: string | undefined,
  min: number,
  max: number,
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new UsageError(`--${name} must be a whole number from ${min} to ${max}, got "${text}"`);
  }
  return value;
}
