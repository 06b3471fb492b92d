import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Calls, Contender } from './contender.ts';

const BENCH = fileURLToPath(new URL('..', import.meta.url));
const PEERS = `${BENCH}peers`;

/** The Node that the peers need, for every side alike. It runs TypeScript as it is. */
const NODE = `${PEERS}/node_modules/.bin/node`;

/** Who takes part, and the program that drives it. */
const CONTENDERS = {
  leasehold: ['contenders/leasehold.ts'],
  graphile_tuned: ['peers/graphile-worker.ts', 'tuned'],
  graphile: ['peers/graphile-worker.ts'],
  pgboss: ['peers/pg-boss.ts'],
} as const;

export type ContenderName = keyof typeof CONTENDERS;

type Work<C extends Calls<C>, Name extends keyof C> = Parameters<C[Name]>[0];
type Answer<C extends Calls<C>, Name extends keyof C> = Awaited<ReturnType<C[Name]>>;

/** Installs the peers where they are not, as their lock file says. */
export function ensurePeers(): void {
  if (existsSync(NODE)) return;
  console.error('installing the peers and their Node (bench/peers), once');
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: PEERS,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** A program of the benchmarks in a process of its own. One call at a time. */
export class ProgramProcess<C extends Calls<C>> {
  readonly name: string;
  readonly #child: ChildProcess;

  /** @param program below bench/ */
  constructor(program: string, args: readonly string[] = [], name = program) {
    this.name = name;
    this.#child = fork(`${BENCH}${program}`, args, { execPath: NODE, execArgv: [] });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.name} did not start`);
    return this.#child.pid;
  }

  call<Name extends keyof C>(call: Name, work: Work<C, Name>): Promise<Answer<C, Name>> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void): void => {
        this.#child.off('message', onMessage).off('exit', onExit);
        settle();
      };
      const onMessage = (message: { answer?: Answer<C, Name>; error?: string }): void =>
        done(() =>
          message.error === undefined
            ? resolve(message.answer as Answer<C, Name>)
            : reject(new Error(`${this.name}: ${message.error}`)),
        );
      const onExit = (): void => done(() => reject(new Error(`${this.name} ended`)));
      this.#child.on('message', onMessage).on('exit', onExit);
      this.#child.send({ call, work });
    });
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.disconnect();
    await ended;
  }
}

/** A contender in a process of its own. */
export class ContenderProcess extends ProgramProcess<Contender> {
  declare readonly name: ContenderName;

  constructor(name: ContenderName) {
    const [program, ...args] = CONTENDERS[name];
    super(program, args, name);
  }
}
