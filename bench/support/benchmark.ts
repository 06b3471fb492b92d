import type { Calls } from './contender.ts';
import type { ContenderName, ContenderProcess, ProgramProcess } from './process.ts';
import type { Database, Server } from './server.ts';

/** One comparison: several sides do the same work, alternating, on one server. */
export interface Benchmark {
  readonly name: string;
  /** What is measured, in one line. */
  readonly work: string;
  run(context: BenchmarkContext): Promise<Outcome>;
}

export interface BenchmarkContext {
  readonly server: Server;
  /** Less work and fewer rounds: to see that it runs, not to quote. */
  readonly quick: boolean;
  /** Tells a person how far it is. */
  log(line: string): void;
  /** A database of this benchmark alone, dropped when the benchmark ends. */
  createDatabase(): Promise<Database>;
  /** A process of this benchmark alone, ended when the benchmark ends. */
  contender(name: ContenderName): ContenderProcess;
  /** The same for a program that is about leasehold alone, by its path below bench/. */
  program<C extends Calls<C>>(path: string): ProgramProcess<C>;
}

export interface Outcome {
  readonly rounds: number;
  /** Unit of the figures. */
  readonly unit: string;
  /** Median of every side over the rounds: `leasehold`, the peers, and variants as `leasehold_kept`. */
  readonly figures: Readonly<Record<string, number>>;
  /** What the targets are about, `ratio_…` most of the time. */
  readonly ratios: Readonly<Record<string, number>>;
  /** The least, or with a leading `<=` the most, that a ratio may be. */
  readonly target: Readonly<Record<string, string>>;
  /** What else a reader wants to know, with the unit in each name. */
  readonly details?: Readonly<Record<string, number>>;
}

/** Whether every ratio is as its target says. */
export function isMet(outcome: Outcome): boolean {
  return Object.entries(outcome.target).every(([name, bound]) => {
    const ratio = outcome.ratios[name];
    const match = /^(>=|<=) ([\d.]+)$/.exec(bound);
    if (ratio === undefined || match === null) throw new Error(`no such target: ${name} ${bound}`);
    const limit = Number(match[2]);
    return match[1] === '>=' ? ratio >= limit : ratio <= limit;
  });
}
