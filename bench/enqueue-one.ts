import type { EnqueueFloor } from './contenders/enqueue-floor.ts';
import type { LeaseholdWorker } from './contenders/leasehold-worker.ts';
import type { Benchmark, BenchmarkContext, Outcome } from './support/benchmark.ts';
import { times, WARM_UP } from './support/contender.ts';
import { type Installed, installed, requireLeft } from './support/installed.ts';
import type { ContenderProcess } from './support/process.ts';
import { alternate, type Side } from './support/rounds.ts';
import { leftovers, numberOf } from './support/sql-worker.ts';
import { ratioOf } from './support/statistics.ts';
import { until } from './support/until.ts';

const CONNECTIONS = [1, 16, 64] as const;
const PEER_CONNECTIONS = 16;

/** Those who would be woken, and how many slots each has. */
const SCHEDULERS = 4;
const CONCURRENCY = 10;

/** Schedulers that wait to be told, or whose slots are all taken, so that nobody asks to be woken. */
const MODES = ['idle', 'busy'] as const;

/** What it costs a producer that whoever waits is told. */
export const enqueueOne: Benchmark = {
  name: 'enqueue-one',
  work: `adding one job a transaction, as it is and without any wake-up, beside ${SCHEDULERS} schedulers`,
  async run(context: BenchmarkContext): Promise<Outcome> {
    const part = context.quick ? 0.15 : 1;
    const rounds = context.quick ? 1 : 5;
    const producer = context.contender('leasehold');
    const scenes: Scene[] = [];
    for (const mode of MODES) {
      scenes.push(await setUp(context, 'leasehold', mode), await setUp(context, 'silent', mode));
    }
    const sides = CONNECTIONS.flatMap((connections) => {
      const jobs = (connections === 1 ? 2_000 : 8_000) * part;
      return scenes.map((scene) => addSide(scene, producer, jobs, connections));
    });
    for (const name of ['graphile', 'pgboss'] as const) {
      sides.push(peerSide(await installed(context, name), 2_000 * part));
    }
    sides.push(floorSide(context, await installed(context, 'leasehold'), 8_000 * part));
    const measured = await alternate(sides, rounds, context.log);
    // Like the peers where nobody takes the jobs.
    const figures = { leasehold: measured[`leasehold_${PEER_CONNECTIONS}_busy`] ?? 0, ...measured };
    const ofSilent = CONNECTIONS.flatMap((connections) =>
      MODES.map((mode): [string, number] => [
        `ratio_silent_${connections}_${mode}`,
        ratioOf(figures, `leasehold_${connections}_${mode}`, `silent_${connections}_${mode}`),
      ]),
    );
    return {
      rounds,
      unit: 'jobs/s',
      figures,
      ratios: {
        ...Object.fromEntries(ofSilent),
        ratio_graphile: ratioOf(figures, 'leasehold', 'graphile'),
        ratio_graphile_idle: ratioOf(figures, `leasehold_${PEER_CONNECTIONS}_idle`, 'graphile'),
        ratio_pgboss: ratioOf(figures, 'leasehold', 'pgboss'),
        ratio_floor: ratioOf(figures, 'leasehold', 'floor'),
        ratio_floor_graphile: ratioOf(figures, 'floor', 'graphile'),
      },
      target: {
        ...Object.fromEntries(ofSilent.map(([name]) => [name, '>= 0.9'])),
        ratio_graphile: '>= 5',
      },
    };
  },
};

/** A database with its schedulers, each in a process of its own. */
interface Scene {
  readonly system: 'leasehold' | 'silent';
  readonly mode: (typeof MODES)[number];
  readonly contender: Installed;
}

async function setUp(
  context: BenchmarkContext,
  system: Scene['system'],
  mode: Scene['mode'],
): Promise<Scene> {
  const contender = await installed(context, 'leasehold');
  const { process, url, admin } = contender;
  if (system === 'silent') {
    await admin.query(`
      create or replace function leasehold._wake(
          p_queue_id integer, p_jobs bigint default 1, p_slots bigint default null
        )
        returns void
        language plpgsql
        set search_path = pg_catalog, pg_temp
      as 'begin end'`);
  }
  const holding = mode === 'busy';
  const slots = holding ? SCHEDULERS * CONCURRENCY : 0;
  await process.call('addMany', { url, jobs: slots, batch: CONCURRENCY });
  await times(SCHEDULERS, () =>
    context
      .program<LeaseholdWorker>('contenders/leasehold-worker.ts')
      .call('start', { url, queue: 'bench', concurrency: CONCURRENCY, holding }),
  );
  await until(`${slots} slots are taken`, async () => {
    return (await numberOf(admin, 'select count(*) from leasehold.lease')) === slots;
  });
  return { system, mode, contender };
}

function addSide(
  { system, mode, contender }: Scene,
  producer: ContenderProcess,
  jobs: number,
  connections: number,
): Side {
  const { url, admin } = contender;
  const all = jobs + connections * WARM_UP;
  return {
    name: `${system}_${connections}_${mode}`,
    async measure() {
      const idle = mode === 'idle' ? SCHEDULERS : 0;
      await until(`${idle} schedulers wait`, async () => (await waiting(contender)) === idle);
      await admin.query('vacuum (analyze)');
      await admin.query('checkpoint');
      const before = await completed(contender);
      const seconds = await producer.call('addOne', { url, jobs, connections });
      if (mode === 'busy') {
        await requireLeft(contender, SCHEDULERS * CONCURRENCY + all);
        await admin.query(
          'delete from leasehold.job where job_id in (select job_id from leasehold.ready)',
        );
        await admin.query('truncate leasehold.ready');
      } else {
        await until('all are done', async () => (await leftovers(admin, 'bench')) === 0);
        const done = (await completed(contender)) - before;
        if (done !== all) throw new Error(`${done} jobs were completed, not ${all}`);
      }
      return jobs / seconds;
    },
  };
}

/** Without workers, which is the best case for those who notify in every transaction. */
function peerSide(contender: Installed, jobs: number): Side {
  const { name, process, url, admin } = contender;
  return {
    name,
    async measure() {
      await admin.query('checkpoint');
      const seconds = await process.call('addOne', { url, jobs, connections: PEER_CONNECTIONS });
      await requireLeft(contender, jobs + PEER_CONNECTIONS * WARM_UP);
      await process.call('clear', url);
      return jobs / seconds;
    },
  };
}

/** The same rows without the functions: no system that writes them can be faster. */
function floorSide(
  context: BenchmarkContext,
  { process, url, admin }: Installed,
  jobs: number,
): Side {
  const program = context.program<EnqueueFloor>('contenders/enqueue-floor.ts');
  return {
    name: 'floor',
    async measure() {
      await admin.query('checkpoint');
      const seconds = await program.call('addOne', { url, jobs, connections: PEER_CONNECTIONS });
      await process.call('clear', url);
      return jobs / seconds;
    },
  };
}

/** How many sessions have asked to be told: each holds this lock, shared. */
function waiting({ admin }: Installed): Promise<number> {
  return numberOf(
    admin,
    `select count(*)
     from pg_locks
     join pg_database on pg_database.oid = pg_locks.database
     where pg_database.datname = current_database()
       and pg_locks.locktype = 'advisory'
       and pg_locks.classid::integer = leasehold._waiting_class()
       and pg_locks.mode = 'ShareLock'`,
  );
}

/** How many jobs have ever been completed: the queue keeps none of them, but counts. */
function completed({ admin }: Installed): Promise<number> {
  return numberOf(admin, `select pruned from leasehold.queue_stats('bench')`);
}
