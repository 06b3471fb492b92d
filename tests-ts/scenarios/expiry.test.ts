import pg from 'pg';
import { describe, expect } from 'vitest';
import {
  type Client,
  type Handler,
  type LeasedJob,
  Scheduler,
  type SchedulerEvent,
} from '../../client/index.ts';
import type { Behaviour } from '../support/behaviours.ts';
import type { DatabaseProxy, PlantedFault } from '../support/proxy.ts';
import { type Queues, type Scenario, scenario } from '../support/scenario.ts';
import { until } from '../support/wait.ts';

const W1 = '11111111-1111-4111-8111-111111111111';
const W2 = '22222222-2222-4222-8222-222222222222';

describe.concurrent('expiry and fencing', { timeout: 120_000 }, () => {
  scenario('C20 a zombie does not complete the job of its successor', async ({ s }) => {
    const { zombie, holder } = await overtaken(s);
    const before = await everything(s.pool);
    await expect(s.client.complete(zombie.jobId, zombie.token, 'W1')).rejects.toMatchObject({
      code: 'lease_lost',
    });
    expect(await s.client.completeMany([{ ...zombie, result: 'W1' }])).toMatchObject([
      { status: 'lease_lost' },
    ]);
    expect(await everything(s.pool)).toEqual(before);

    const settled = await s.client.complete(holder.jobId, holder.token, 'W2');
    expect(settled).toMatchObject({ status: 'completed', late: false });
    const job = await s.client.job(holder.jobId);
    expect(job).toMatchObject({ state: 'completed', attempt: 2, result: 'W2' });

    // Not even now.
    const ended = await everything(s.pool);
    await expect(s.client.complete(zombie.jobId, zombie.token, 'W1')).rejects.toMatchObject({
      code: 'lease_lost',
    });
    expect(await everything(s.pool)).toEqual(ended);
  });

  scenario('C21 a zombie does not renew the lease of its successor', async ({ s }) => {
    const { zombie } = await overtaken(s);
    const before = await everything(s.pool);
    await expect(s.client.heartbeat(zombie.jobId, zombie.token)).rejects.toMatchObject({
      code: 'lease_lost',
    });
    expect(await s.client.heartbeatMany([zombie], { extendMs: 86_400_000 })).toMatchObject([
      { status: 'lost', remainingMs: undefined, cancelRequested: false },
    ]);
    expect(await everything(s.pool)).toEqual(before);
  });

  scenario('C22 a zombie neither ends nor marks the attempt of its successor', async ({ s }) => {
    const { zombie, holder } = await overtaken(s);
    await s.client.heartbeat(holder.jobId, holder.token, { checkpoint: { from: 'W2' } });
    const before = await everything(s.pool);

    const { jobId, token } = zombie;
    const calls = {
      fail: () => s.client.fail(jobId, token, 'W1 failed'),
      release: () => s.client.release(jobId, token),
      deadLetter: () => s.client.deadLetter(jobId, token, 'W1 gave up'),
      checkpoint: () => s.client.heartbeat(jobId, token, { checkpoint: { from: 'W1' } }),
      assertLease: () => s.client.assertLease(jobId, token),
    };
    for (const call of Object.values(calls)) {
      await expect(call()).rejects.toMatchObject({ code: 'lease_lost' });
    }
    expect(await s.client.failMany([{ ...zombie, error: 'W1 failed' }])).toMatchObject([
      { status: 'lease_lost' },
    ]);
    expect(await s.client.heartbeatMany([{ ...zombie, checkpoint: { from: 'W1' } }])).toMatchObject(
      [{ status: 'lost' }],
    );

    expect(await everything(s.pool)).toEqual(before);
    const job = await s.client.job(jobId);
    expect(job).toMatchObject({ state: 'leased', attempt: 2, checkpoint: { from: 'W2' } });
    expect(await s.client.complete(holder.jobId, holder.token)).toMatchObject({
      status: 'completed',
    });
  });

  scenario('C23 a late completion counts as long as nobody took the job', async ({ s }) => {
    const job = await leased(s, W1);
    await expire(s.pool, '5 seconds');
    expect((await s.client.job(job.jobId)).remainingMs).toBeLessThan(-4000);

    expect(await s.client.complete(job.jobId, job.token, 'done')).toMatchObject({
      status: 'completed',
      late: true,
    });
    expect(await s.client.job(job.jobId)).toMatchObject({ state: 'completed', late: true });
    await s.client.reapExpired();
    expect(await s.client.leaseJobs(['work'], { workerId: W2 })).toEqual([]);
    expect(await s.client.job(job.jobId)).toMatchObject({ attempt: 1, losses: 0, history: [] });
  });

  scenario('C24 a completion that comes after the reaper is accepted', async ({ s }) => {
    const job = await leased(s, W1);
    await reap(s);
    expect(await s.client.job(job.jobId)).toMatchObject({ state: 'ready', losses: 1 });

    expect(await s.client.complete(job.jobId, job.token, 'done')).toMatchObject({
      status: 'completed',
      late: true,
    });
    expect(await s.client.leaseJobs(['work'], { workerId: W2 })).toEqual([]);
    expect(await s.client.job(job.jobId)).toMatchObject({ state: 'completed', attempt: 1 });
  });

  scenario('C24 a heartbeat that comes after the reaper takes the lease back', async ({ s }) => {
    const job = await leased(s, W1);
    await reap(s);
    expect(await s.client.heartbeatMany([job])).toMatchObject([{ status: 'revived' }]);
    expect(await s.client.leaseJobs(['work'], { workerId: W2 })).toEqual([]);
    expect(await s.client.job(job.jobId)).toMatchObject({
      state: 'leased',
      attempt: 1,
      workerId: W1,
      losses: 0,
    });
    expect(await s.client.heartbeat(job.jobId, job.token)).toMatchObject({ status: 'ok' });
    expect(await s.client.complete(job.jobId, job.token)).toMatchObject({
      status: 'completed',
      late: false,
    });
  });

  scenario('C24 once another worker has the job nothing late is accepted', async ({ s }) => {
    const { zombie } = await overtaken(s);
    const { jobId, token } = zombie;
    await expect(s.client.heartbeat(jobId, token)).rejects.toMatchObject({ code: 'lease_lost' });
    await expect(s.client.complete(jobId, token)).rejects.toMatchObject({ code: 'lease_lost' });
    // Also when the successor's lease has run out, and was reaped: its token is the newest.
    await expire(s.pool);
    await expect(s.client.complete(jobId, token)).rejects.toMatchObject({ code: 'lease_lost' });
    await s.client.reapExpired();
    expect((await s.client.job(jobId)).state).toBe('ready');
    await expect(s.client.heartbeat(jobId, token)).rejects.toMatchObject({ code: 'lease_lost' });
    await expect(s.client.complete(jobId, token)).rejects.toMatchObject({ code: 'lease_lost' });
  });

  const REPETITIONS = 1000;
  const PATIENCE = { timeout: 240_000 };

  scenario('C25 complete and the reaper together complete a job once', PATIENCE, async ({ s }) => {
    const wins = { complete: 0, reap: 0 };
    await repeatedly(s, async (job, nth) => {
      await expire(s.pool);
      const [settled, reaped] = await raced(
        nth,
        () => s.client.complete(job.jobId, job.token, nth),
        () => s.client.reapExpired(),
      );
      expect(settled).toMatchObject({ status: 'completed', late: true });
      wins[reaped === 1 ? 'reap' : 'complete']++;

      expect(await whereabouts(s.pool, job.jobId)).toEqual({
        positions: [],
        finished: [{ outcome: 'completed', result: nth, losses: 0, attempt: 1 }],
      });
    });
    // Both orders were seen.
    expect(wins.complete + wins.reap).toBe(REPETITIONS);
    expect(Math.min(wins.complete, wins.reap)).toBeGreaterThan(0);
  });

  scenario(
    'C26 of complete and lease_jobs exactly one gets a reaped job',
    PATIENCE,
    async ({ s }) => {
      const wins = { complete: 0, lease: 0 };
      await repeatedly(s, async (job, nth) => {
        await reap(s);
        const [[settled], taken] = await raced(
          nth,
          () => s.client.completeMany([{ ...job, result: nth }]),
          () => s.client.leaseJobs(['work'], { workerId: W2 }),
        );
        const [successor] = taken;
        if (successor === undefined) {
          wins.complete++;
          expect(settled).toMatchObject({ status: 'completed', late: true });
          expect(await whereabouts(s.pool, job.jobId)).toMatchObject({
            positions: [],
            finished: [{ outcome: 'completed', result: nth, attempt: 1 }],
          });
        } else {
          wins.lease++;
          // Busy: the lease was not committed yet.
          const [last] =
            settled?.status === 'busy'
              ? await s.client.completeMany([{ ...job, result: nth }])
              : [settled];
          expect(last).toMatchObject({ status: 'lease_lost' });
          expect(successor).toMatchObject({ jobId: job.jobId, attempt: 2 });
          expect(await whereabouts(s.pool, job.jobId)).toEqual({
            positions: ['lease'],
            finished: [],
          });
          await s.client.complete(successor.jobId, successor.token, 'W2');
        }
      });
      expect(wins.complete + wins.lease).toBe(REPETITIONS);
      expect(Math.min(wins.complete, wins.lease)).toBeGreaterThan(0);
    },
  );

  /** One job after another, each leased by W1, for {@link REPETITIONS} races. */
  async function repeatedly(
    s: Scenario,
    race: (job: LeasedJob, nth: number) => Promise<void>,
  ): Promise<void> {
    for (let nth = 0; nth < REPETITIONS; nth++) await race(await leased(s, W1), nth);
  }

  scenario('C27 settling twice settles once', async ({ s }) => {
    const proxy = await s.proxy();
    const lost = proxy.plant({ sql: 'leasehold.complete', at: 'before-reply', deed: 'rst' });
    const job = await leased(s, W1);
    await expect(
      connected(proxy.url, s.client, (client) => client.complete(job.jobId, job.token, 'first')),
    ).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(lost.fired).toBe(1);

    const before = await everything(s.pool);
    const { jobId, token } = job;
    for (const again of ['first', 'second']) {
      expect(await s.client.complete(jobId, token, again)).toMatchObject({
        status: 'already_completed',
      });
    }
    expect(await s.client.fail(jobId, token, 'too late')).toMatchObject({
      status: 'already_completed',
    });
    expect(await s.client.release(jobId, token)).toMatchObject({ status: 'already_completed' });
    expect(await everything(s.pool)).toEqual(before);
    expect(await s.client.job(jobId)).toMatchObject({ state: 'completed', result: 'first' });
  });

  scenario('C27 a worker whose reply was lost at any point reports its job once', async ({ s }) => {
    const proxy = await s.proxy();
    const worker = await s.worker({ url: proxy.url, options: { callTimeoutMs: 3000 } });
    for (const [at, deed] of [
      ['before-query', 'rst'],
      ['before-query', 'black-hole'],
      ['before-reply', 'fin'],
      ['before-reply', 'black-hole'],
      ['before-ready', 'rst'],
    ] as const) {
      const cut = proxy.plant({ sql: 'complete_many', at, deed });
      const jobId = await s.client.enqueue('work', { do: 'return', result: `${at} ${deed}` });
      const settled = await worker.event('job:settled', (event) => event.jobId === jobId);
      expect(cut.fired).toBe(1);
      expect(settled.event.status).toBe(at === 'before-query' ? 'completed' : 'already_completed');
      const job = await s.client.job(jobId);
      expect(job).toMatchObject({ state: 'completed', attempt: 1, late: false });
      expect(job.result?.result).toBe(`${at} ${deed}`);
      expect(await s.invocations(jobId)).toHaveLength(1);
      expect(worker.events('job:settled', jobId)).toHaveLength(1);
    }
  });

  scenario('C29 after a restore only the newest token settles', async ({ s }) => {
    const { zombie: first, holder: a } = await overtaken(s);
    // What the restored state knows: attempt 1 was lost, nobody has had attempt 2.
    await s.pool.query('delete from leasehold.lease');
    await s.pool.query(
      `insert into leasehold.ready (job_id, token, queue_id, attempt, releases, failures, losses, priority)
       select job_id, $2, queue_id, 1, 0, 0, 1, priority from leasehold.job where job_id = $1`,
      [first.jobId, first.token],
    );
    const [b] = await s.client.leaseJobs(['work'], { workerId: W2 });
    if (!b) throw new Error('nothing to lease');
    expect([a.attempt, b.attempt]).toEqual([2, 2]);
    expect(a.token).not.toBe(b.token);

    await expect(s.client.complete(a.jobId, a.token, 'A')).rejects.toMatchObject({
      code: 'lease_lost',
    });
    await expect(s.client.heartbeat(a.jobId, a.token)).rejects.toMatchObject({
      code: 'lease_lost',
    });
    expect(await s.client.complete(b.jobId, b.token, 'B')).toMatchObject({ status: 'completed' });
    await expect(s.client.complete(a.jobId, a.token, 'A')).rejects.toMatchObject({
      code: 'lease_lost',
    });
    expect((await s.client.job(b.jobId)).result).toBe('B');
  });

  scenario('C30 a scheduler that leases its own running job goes on with it', async ({ s }) => {
    const worker = await s.worker({
      options: { leaseMs: 20_000, concurrency: 2, maintenanceMs: 0 },
    });
    const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 6000 });
    await worker.event('handler:started');
    const { rows: old } = await s.pool.query('select token from leasehold.lease');
    await reap(s);

    const adopted = await worker.event('job:adopted');
    expect(adopted.event).toMatchObject({ jobId, attempt: 2 });
    const { rows: current } = await s.pool.query('select token from leasehold.lease');
    expect(current).toHaveLength(1);
    expect(current).not.toEqual(old);

    const settled = await worker.event('job:settled');
    expect(settled.event).toMatchObject({ attempt: 2, status: 'completed' });
    expect(await s.client.job(jobId)).toMatchObject({ state: 'completed', attempt: 2 });
    expect(await s.invocations()).toMatchObject([{ attempt: 1, outcome: 'returned' }]);
    expect(worker.events('job:started')).toHaveLength(1);
    expect(worker.events('job:settled')).toHaveLength(1);
    expect(worker.events('outcome:refused')).toEqual([]);
  });

  scenario(
    'C30 a handler that was told to stop delivers under the lease of its successor',
    async ({ s }) => {
      const proxy = await s.proxy();
      const worker = await s.worker({
        url: proxy.url,
        options: { leaseMs: 3000, concurrency: 2, cancelGraceMs: 60_000 },
      });
      // Only the heart's connection is struck, and every one that takes its place.
      const silent = proxy.plant({
        sql: 'heartbeat_many',
        role: 'heart',
        at: 'before-query',
        deed: 'black-hole',
        times: 1000,
      });
      const jobId = await s.client.enqueue('work', { do: 'ignore-abort', ms: 16_000 });
      await silent.struck;
      await worker.event('job:adopted');
      silent.remove();
      expect(worker.events('handler:aborted')).toMatchObject([
        { attempt: 1, reason: 'lease_lost' },
      ]);

      const settled = await worker.event('job:settled');
      expect(settled.event.status).toMatch(/completed$/);
      const job = await s.client.job(jobId);
      expect(job.state).toBe('completed');
      expect(job.attempt).toBeGreaterThanOrEqual(2);
      expect(await s.invocations()).toHaveLength(1);
      expect(worker.events('job:started')).toHaveLength(1);
    },
  );

  /** A scheduler of this process, whose lease_jobs answers are slow from now on. */
  async function slowlyLeasing(
    s: Scenario,
    handler: Handler,
  ): Promise<{
    proxy: DatabaseProxy;
    slow: PlantedFault;
    events: SchedulerEvent[];
    stop(): Promise<unknown>;
  }> {
    const proxy = await s.proxy();
    const events: SchedulerEvent[] = [];
    const scheduler = new Scheduler({
      connection: proxy.url,
      leaseMs: 60_000,
      concurrency: 2,
      maintenanceMs: 0,
      handlers: { work: handler },
      onEvent: (event) => events.push(event),
    });
    await scheduler.start();
    const slow = proxy.plant({
      sql: 'lease_jobs',
      at: 'before-ready',
      deed: { delayMs: 700 },
      times: 1000,
    });
    return { proxy, slow, events, stop: () => scheduler.stop() };
  }

  scenario(
    'C30 a result that waits behind the new lease of its job is delivered under it',
    async ({ s }) => {
      let finish = (): void => undefined;
      const finished = new Promise<void>((resolve) => {
        finish = resolve;
      });
      let invocations = 0;
      const { slow, events, stop } = await slowlyLeasing(s, async () => {
        invocations++;
        await finished;
        return 'done';
      });
      const jobId = await s.client.enqueue('work', { do: 'return' });
      await until(() => invocations === 1);
      await reap(s);
      await until(async () => (await s.client.job(jobId)).attempt === 2);
      // The scheduler does not know yet: its answer is on the way.
      expect(events.filter(({ type }) => type === 'job:adopted')).toEqual([]);
      finish();

      await until(async () => (await s.client.job(jobId)).state === 'completed');
      const job = await s.client.job(jobId);
      expect(job).toMatchObject({ attempt: 2, result: 'done', late: false });
      expect(invocations).toBe(1);
      expect(slow.fired).toBeGreaterThan(0);
      expect(events.filter(({ type }) => type === 'job:adopted')).toHaveLength(1);
      expect(events.filter(({ type }) => type === 'outcome:refused')).toEqual([]);
      await stop();
    },
  );

  for (const outcome of ['fail', 'release'] as const) {
    scenario(
      `C30 a job that is leased anew while its ${outcome} is repeated starts afresh`,
      async ({ s }) => {
        let invocations = 0;
        const { proxy, events, stop } = await slowlyLeasing(s, (_job, context) => {
          if (++invocations > 1) return 'done';
          if (outcome === 'fail') context.fail('first', { retryInMs: 0 });
          else context.release();
          return undefined;
        });
        const sql = `leasehold.${outcome}`;
        const cut = proxy.plant({ sql, at: 'before-reply', deed: 'rst' });
        // No repeat gets through before the job has been leased anew.
        const held = proxy.plant({ sql, at: 'before-query', deed: 'rst', nth: 2, times: 1000 });
        const jobId = await s.client.enqueue('work', { do: 'return' });
        await until(() => events.some(({ type }) => type === 'job:adopted'));
        held.remove();

        await until(async () => (await s.client.job(jobId)).state === 'completed');
        expect(cut.fired).toBe(1);
        const job = await s.client.job(jobId);
        expect(job).toMatchObject({ losses: 0, failures: outcome === 'fail' ? 1 : 0 });
        expect(invocations).toBe(2);
        await stop();
      },
    );
  }

  scenario('C31 what a zombie writes does not commit', async ({ s }) => {
    const { zombie, holder } = await overtaken(s);
    await s.pool.query('create table business (job_id bigint, by text)');
    const write = async ({ jobId, token }: LeasedJob, by: string): Promise<void> => {
      const connection = await s.pool.connect();
      try {
        await connection.query('begin');
        await connection.query('insert into business values ($1, $2)', [jobId, by]);
        await s.client.using(connection).assertLease(jobId, token);
        await connection.query('commit');
      } catch (error) {
        await connection.query('rollback');
        throw error;
      } finally {
        connection.release();
      }
    };
    await expect(write(zombie, 'W1')).rejects.toMatchObject({ code: 'lease_lost' });
    await write(holder, 'W2');
    const { rows } = await s.pool.query('select by from business');
    expect(rows).toEqual([{ by: 'W2' }]);
  });

  scenario('C31 nobody takes a job between assert_lease and the commit', async ({ s }) => {
    const job = await leased(s, W1);
    const connection = await s.pool.connect();
    await connection.query('begin');
    await s.client.using(connection).assertLease(job.jobId, job.token);
    // As if it had run out right after.
    await expire(s.pool);
    expect(await s.client.reapExpired()).toBe(0);
    expect(await s.client.leaseJobs(['work'], { workerId: W2 })).toEqual([]);
    expect(await s.client.heartbeatMany([job])).toMatchObject([{ status: 'revived' }]);
    await expire(s.pool);
    await s.client.using(connection).complete(job.jobId, job.token, 'W1');
    expect(await s.client.reapExpired()).toBe(0);
    await connection.query('commit');
    connection.release();
    expect(await s.client.job(job.jobId)).toMatchObject({ state: 'completed', result: 'W1' });
  });
});

/** A new job of queue `work`, leased by a worker that the database has heard of. */
async function leased(s: Scenario, workerId: string): Promise<LeasedJob<Behaviour>> {
  await s.client.registerWorker(workerId, { queues: ['work'] });
  const jobId = await s.client.enqueue('work', { do: 'return' });
  const [job] = await s.client.leaseJobs(['work'], { workerId });
  if (job?.jobId !== jobId) throw new Error(`leased ${job?.jobId}, not ${jobId}`);
  return job;
}

/** W1's lease has run out, and W2 holds attempt 2. */
async function overtaken(
  s: Scenario,
): Promise<{ zombie: LeasedJob<Behaviour>; holder: LeasedJob<Behaviour> }> {
  const zombie = await leased(s, W1);
  await reap(s);
  await s.client.registerWorker(W2, { queues: ['work'] });
  const [holder] = await s.client.leaseJobs(['work'], { workerId: W2 });
  if (holder?.attempt !== 2) throw new Error('W2 did not take the job over');
  return { zombie, holder };
}

/** All leases have run out so long ago. */
async function expire(pool: pg.Pool, ago = '1 ms'): Promise<void> {
  await pool.query('update leasehold.lease set expires_at = clock_timestamp() - $1::interval', [
    ago,
  ]);
}

/** All leases run out and are reaped, whatever a heartbeat does in between. */
async function reap(s: Scenario): Promise<void> {
  await until(async () => {
    await expire(s.pool);
    return (await s.client.reapExpired()) > 0;
  });
}

/** Both at once; which one is sent first changes from time to time. */
async function raced<A, B>(
  nth: number,
  one: () => Promise<A>,
  other: () => Promise<B>,
): Promise<[A, B]> {
  if (nth % 2 === 0) return Promise.all([one(), other()]);
  const second = other();
  return [await one(), await second];
}

/** Every position a job is in, and every end it came to. */
async function whereabouts(
  pool: pg.Pool,
  jobId: string,
): Promise<{ positions: string[]; finished: unknown[] }> {
  const { rows } = await pool.query(
    `select
       array(
         select 'ready' from leasehold.ready where job_id = $1
         union all select 'scheduled' from leasehold.scheduled where job_id = $1
         union all select 'blocked' from leasehold.blocked where job_id = $1
         union all select 'lease' from leasehold.lease where job_id = $1
       ) as positions,
       coalesce((
         select jsonb_agg(jsonb_build_object(
           'outcome', outcome, 'result', result, 'losses', losses, 'attempt', attempt
         ))
         from leasehold.finished where job_id = $1
       ), '[]') as finished`,
    [jobId],
  );
  return rows[0];
}

/** Every row of every table that says something of a job, as text. */
async function everything(pool: pg.Pool): Promise<Record<string, string[]>> {
  const contents: Record<string, string[]> = {};
  for (const table of [
    'job',
    'ready',
    'scheduled',
    'blocked',
    'lease',
    'finished',
    'attempt',
    'checkpoint',
    'dedup',
    'tally',
  ]) {
    const { rows } = await pool.query<{ row: string }>(
      `select content::text as row from leasehold.${table} as content order by 1`,
    );
    contents[table] = rows.map(({ row }) => row);
  }
  return contents;
}

/** Uses a connection of its own to another address of the database. */
async function connected<T>(
  url: string,
  client: Client<Queues>,
  use: (client: Client<Queues>) => Promise<T>,
): Promise<T> {
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  pool.on('error', () => undefined);
  try {
    return await use(client.using(pool));
  } finally {
    await pool.end();
  }
}
