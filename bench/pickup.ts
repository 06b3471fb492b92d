import { DEFAULTS } from '../client/options.ts';
import type { PickupFloor } from './contenders/pickup-floor.ts';
import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import type { Pickup } from './support/contender.ts';
import { type Installed, installed, requireLeft } from './support/installed.ts';
import { alternate, type Side } from './support/rounds.ts';
import { median, quantile, ratioOf } from './support/statistics.ts';

/** pg-boss with its queue's notify on, graphile-worker as it comes. */
const CONTENDERS = ['leasehold', 'graphile', 'pgboss'] as const;

/** The first jobs of every turn, which find neither plans nor code warm, are not counted. */
const WARM_UP = 10;

/** Between two jobs of the idle system, on average: longer than anybody has anything left to do. */
const IDLE_GAP_MS = 40;

/** Between two jobs that come at random, on average. */
const RANDOM_GAP_MS = 20;

/** How long a job waits for its handler where nothing keeps the handler from starting. */
export const pickup: Benchmark = {
  name: 'pickup',
  work: 'from adding a job to the start of its handler: on an idle system, and at random arrivals',
  async run(context: BenchmarkContext): Promise<Outcome> {
    const rounds = context.quick ? 2 : 5;
    const idle: Arrivals = {
      jobs: (context.quick ? 80 : 1000) / rounds,
      // Not always the same, so that no timer of a worker keeps step with it.
      gapMs: () => IDLE_GAP_MS * (0.75 + Math.random() / 2),
      oneByOne: true,
    };
    const random: Arrivals = {
      jobs: (context.quick ? 3_200 : 60_000) / RANDOM_GAP_MS / rounds,
      gapMs: () => -Math.log(1 - Math.random()) * RANDOM_GAP_MS,
      oneByOne: false,
    };
    const sides: PickupSide[] = [];
    for (const name of CONTENDERS) {
      const picker = pickerOf(await installed(context, name));
      sides.push(pickupSide(name, picker, idle), pickupSide(`${name}_random`, picker, random));
    }
    const floor = await floorOf(context);
    sides.push(pickupSide('floor', floor, idle), pickupSide('floor_random', floor, random));
    const figures = await alternate(sides, rounds, context.log);
    const tails = (name: string): readonly number[] =>
      sides.find((side) => side.name === name)?.latencies ?? [];
    return {
      rounds,
      unit: 'ms',
      figures,
      ratios: {
        ratio_graphile: ratioOf(figures, 'leasehold', 'graphile'),
        ratio_graphile_random: ratioOf(figures, 'leasehold_random', 'graphile_random'),
        ratio_floor: ratioOf(figures, 'leasehold', 'floor'),
        ratio_floor_random: ratioOf(figures, 'leasehold_random', 'floor_random'),
        ratio_floor_graphile: ratioOf(figures, 'floor', 'graphile'),
        ratio_pgboss: ratioOf(figures, 'leasehold', 'pgboss'),
        ratio_pgboss_random: ratioOf(figures, 'leasehold_random', 'pgboss_random'),
        p99_ms: quantile(tails('leasehold'), 0.99),
        p99_random_ms: quantile(tails('leasehold_random'), 0.99),
        worst_ms: quantile(tails('leasehold'), 1),
        worst_random_ms: quantile(tails('leasehold_random'), 1),
      },
      target: {
        ratio_graphile: '<= 0.7',
        ratio_graphile_random: '<= 0.7',
        p99_ms: '<= 10',
        p99_random_ms: '<= 10',
        worst_ms: `<= ${DEFAULTS.pollMs}`,
        worst_random_ms: `<= ${DEFAULTS.pollMs}`,
      },
      details: Object.fromEntries(
        sides
          .filter(({ name }) => !name.startsWith('leasehold'))
          .flatMap(({ name, latencies }) => [
            [`${name}_p99_ms`, quantile(latencies, 0.99)],
            [`${name}_worst_ms`, quantile(latencies, 1)],
          ]),
      ),
    };
  },
};

interface Arrivals {
  readonly jobs: number;
  readonly gapMs: () => number;
  readonly oneByOne: boolean;
}

/** Who takes part: it adds jobs after gaps, and says how long each waited. */
interface Picker {
  readonly url: string;
  pickup(work: Pickup): Promise<number[]>;
  /** Throws unless all jobs are done. */
  verify(): Promise<void>;
}

function pickerOf(contender: Installed): Picker {
  return {
    url: contender.url,
    pickup: (work) => contender.process.call('pickup', work),
    verify: () => requireLeft(contender, 0),
  };
}

/** What no system can be faster than that commits a job and then takes it durably. */
async function floorOf(context: BenchmarkContext): Promise<Picker> {
  const { url } = await context.createDatabase();
  const program = context.program<PickupFloor>('contenders/pickup-floor.ts');
  await program.call('install', url);
  // It is done when it has answered for every job.
  return { url, pickup: (work) => program.call('pickup', work), verify: async () => undefined };
}

/** Its figure is a median; what the tails are taken from are the latencies of all its turns. */
interface PickupSide extends Side {
  readonly latencies: readonly number[];
}

function pickupSide(
  name: string,
  { url, pickup, verify }: Picker,
  { jobs, gapMs, oneByOne }: Arrivals,
): PickupSide {
  const latencies: number[] = [];
  return {
    name,
    latencies,
    async measure() {
      const gapsMs = Array.from({ length: WARM_UP + jobs }, gapMs);
      const turn = (await pickup({ url, gapsMs, oneByOne })).slice(WARM_UP);
      await verify();
      latencies.push(...turn);
      return median(turn);
    },
  };
}
