import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { payloadOf } from './support/contender.ts';
import { type Installed, installed, requireLeft } from './support/installed.ts';
import { alternate, type Side } from './support/rounds.ts';
import { numberOf } from './support/sql-worker.ts';
import { ratioOf } from './support/statistics.ts';

const CONTENDERS = ['leasehold', 'graphile', 'graphile_tuned', 'pgboss'] as const;

/** Sizes of a payload as JSON text, and how many jobs get one. */
const SIZES: readonly Size[] = [
  { name: '100b', payloadBytes: 100, jobs: 1_000 },
  { name: '1kb', payloadBytes: 1_000, jobs: 1_000 },
  { name: '10kb', payloadBytes: 10_000, jobs: 250 },
  { name: '100kb', payloadBytes: 100_000, jobs: 50 },
];

interface Size {
  readonly name: string;
  readonly payloadBytes: number;
  readonly jobs: number;
}

/** The size whose figure stands for all where there is room for one. */
const HEADLINE = '1kb';

const BATCH = 100;
const CONCURRENCY = 10;

/** How much is written for what a job carries, from its first to its last row. */
export const payload: Benchmark = {
  name: 'payload',
  work: 'bytes of WAL for a byte of payload: adding jobs in batches and running them',
  async run(context: BenchmarkContext): Promise<Outcome> {
    const rounds = context.quick ? 1 : 3;
    const contenders: Installed[] = [];
    for (const name of CONTENDERS) contenders.push(await installed(context, name));
    await touchPages(contenders);
    const factor = context.quick ? 1 : 10;
    const sides = SIZES.flatMap((size) =>
      contenders.map((contender) => lifeSide(contender, { ...size, jobs: size.jobs * factor })),
    );
    const measured = await alternate(sides, rounds, context.log);
    const headlines = CONTENDERS.map((name) => [name, measured[`${name}_${HEADLINE}`] ?? 0]);
    const figures = { ...Object.fromEntries(headlines), ...measured };
    return {
      rounds,
      unit: 'WAL bytes per payload byte',
      figures,
      ratios: Object.fromEntries(
        CONTENDERS.slice(1).map((peer) => [`ratio_${peer}`, ratioOf(figures, 'leasehold', peer)]),
      ),
      target: {},
    };
  },
};

function lifeSide(contender: Installed, size: Size): Side {
  const { process, url } = contender;
  return {
    name: `${contender.name}_${size.name}`,
    async measure() {
      const before = await walBytes(contender);
      await live(contender, size);
      const written = (await walBytes(contender)) - before;
      await requireLeft(contender, 0);
      // Only pg-boss has kept something: what its removal costs is not counted.
      await process.call('clear', url);
      return written / payloadBytes(size);
    },
  };
}

/** A whole life of the jobs: in, to a handler, out. */
async function live({ process, url }: Installed, { jobs, payloadBytes }: Size): Promise<void> {
  await process.call('addMany', { url, jobs, batch: BATCH, payloadBytes });
  await process.call('drain', { url, jobs, concurrency: CONCURRENCY });
}

/** The first change of a page after a checkpoint writes all of it, whoever makes that change. */
async function touchPages(contenders: readonly Installed[]): Promise<void> {
  await contenders[0]?.admin.query('checkpoint');
  for (const contender of contenders) {
    await live(contender, { name: 'first', payloadBytes: 100, jobs: BATCH });
    await contender.process.call('clear', contender.url);
  }
}

/** Bytes of WAL that the server has written since it exists. */
function walBytes({ admin }: Installed): Promise<number> {
  return numberOf(admin, `select pg_current_wal_insert_lsn() - '0/0'`);
}

function payloadBytes(size: Size): number {
  let bytes = 0;
  for (let number = 0; number < size.jobs; number += 1) {
    bytes += Buffer.byteLength(JSON.stringify(payloadOf(number, size.payloadBytes)));
  }
  return bytes;
}
