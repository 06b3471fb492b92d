import { setTimeout as sleep } from 'node:timers/promises';
import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { installed } from './support/installed.ts';
import type { ContenderName } from './support/process.ts';
import { alternate, type Side } from './support/rounds.ts';
import { serverLoad } from './support/server-load.ts';
import { median, ratioOf } from './support/statistics.ts';
import { until } from './support/until.ts';

const WORKERS = 100;

/** Each with the polling and the number of slots it has by default. */
const CONTENDERS = ['leasehold', 'graphile', 'pgboss'] as const;

/**
 * Until what is only done at the start is over: pools close what they do not need after ten seconds, and as
 * late do idle sessions tell how much they did.
 */
const SETTLE_MS = 12_000;

/** What workers ask of the server while there is nothing to do. */
export const idle: Benchmark = {
  name: 'idle',
  work: `transactions a second, and the server's CPU time, of ${WORKERS} workers with nothing to do`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    const rounds = context.quick ? 1 : 3;
    const seconds = context.quick ? 6 : 60;
    const sides = CONTENDERS.map((name) => idleSide(context, name, seconds));
    const figures = await alternate(sides, rounds, context.log);
    const cpu = Object.fromEntries(
      sides.map(({ name, cpuSecondsPerMinute }) => [name, median(cpuSecondsPerMinute)]),
    );
    const peers = CONTENDERS.slice(1);
    return {
      rounds,
      unit: 'transactions/s',
      figures,
      ratios: {
        ...Object.fromEntries(
          peers.map((peer) => [`ratio_${peer}`, ratioOf(figures, 'leasehold', peer)]),
        ),
        ...Object.fromEntries(
          peers.map((peer) => [`ratio_cpu_${peer}`, ratioOf(cpu, 'leasehold', peer)]),
        ),
      },
      target: {},
      details: Object.fromEntries(
        Object.entries(cpu).map(([name, value]) => [`${name}_cpu_seconds_per_minute`, value]),
      ),
    };
  },
};

interface IdleSide extends Side {
  readonly cpuSecondsPerMinute: readonly number[];
}

function idleSide(context: BenchmarkContext, name: ContenderName, seconds: number): IdleSide {
  const cpuSecondsPerMinute: number[] = [];
  return {
    name,
    cpuSecondsPerMinute,
    async measure() {
      const contender = await installed(context, name);
      const { process, url, admin } = contender;
      await process.call('idle', { url, workers: WORKERS });
      await sleep(SETTLE_MS);

      const before = await serverLoad(admin);
      await sleep(seconds * 1000);
      const after = await serverLoad(admin);

      // Idle they were, but not asleep.
      await process.call('addMany', { url, jobs: WORKERS, batch: WORKERS });
      await until(
        `${name} does its jobs`,
        async () => (await process.call('leftovers', url)) === 0,
      );
      await process.end();
      cpuSecondsPerMinute.push(((after.cpuSeconds - before.cpuSeconds) * 60) / seconds);
      return (after.commits - before.commits) / seconds;
    },
  };
}
