import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { LeaseholdError, Scheduler, type SchedulerEvent } from '../../client/index.ts';
import { createServer } from '../support/database.ts';
import type { DatabaseProxy } from '../support/proxy.ts';
import { scenario, takenBy } from '../support/scenario.ts';
import { until } from '../support/wait.ts';

/** What a bound of a scenario may be exceeded by on a machine that is busy with other things. */
const ROOM_MS = 10_000;

describe.concurrent('renewal', { timeout: 120_000 }, () => {
  scenario('C01 a long job runs once, by one of two idle workers', async ({ s }) => {
    const proxy = await s.proxy();
    const options = { leaseMs: 3000, heartbeatMs: 1000, concurrency: 2 };
    const workers = await Promise.all([
      s.worker({ name: 'w1', url: proxy.url, options }),
      s.worker({ name: 'w2', url: proxy.url, options }),
    ]);
    const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 20_000 });
    const [holder, idle] = await takenBy(jobId, ...workers);
    await holder.event('job:settled');

    const job = await s.client.job(jobId);
    expect(job).toMatchObject({ state: 'completed', attempt: 1, losses: 0, late: false });
    expect(job.result).toMatchObject({ by: holder.name, attempt: 1 });
    expect(await s.invocations()).toHaveLength(1);
    const beats = proxy.seen('heartbeat_many', { applicationName: holder.name });
    expect(beats.length).toBeGreaterThanOrEqual(15);
    expect(idle?.events('job:started')).toEqual([]);
    expect(proxy.seen('heartbeat_many', { applicationName: idle?.name ?? '' })).toEqual([]);
  });

  scenario('C02 a job is held for a hundred lease lengths', { timeout: 240_000 }, async ({ s }) => {
    // The database's time runs fast: what the worker takes for a minute is over in 0.6 s.
    const began = `'${new Date().toISOString()}'::timestamptz`;
    await s.pool.query(
      `create or replace function leasehold._now() returns timestamptz language sql volatile
       return ${began} + (clock_timestamp() - ${began}) * 100`,
    );
    const worker = await s.worker({
      options: { leaseMs: 60_000, heartbeatMs: 200, concurrency: 1 },
    });
    const jobId = await s.client.enqueue('work', { do: 'ignore-abort', ms: 230_000 });
    await worker.event('job:started');
    const { leasedAt } = await s.client.job(jobId);
    expect(leasedAt).toBeInstanceOf(Date);

    // It may lapse on a busy machine; its heartbeat then takes it back.
    await until(async () => {
      const { rowCount } = await s.pool.query(
        'select from leasehold.lease where leased_at + 100 * duration < leasehold._now()',
      );
      return rowCount === 1;
    });
    const held = await s.client.job(jobId);
    expect(held).toMatchObject({ attempt: 1, cancelRequested: false });
    expect(await s.invocations()).toHaveLength(1);
    expect(worker.events('handler:aborted')).toEqual([]);
    expect(worker.events('job:lost')).toEqual([]);
  });

  scenario('C02 a handler is told to stop when its longest runtime has passed', async ({ s }) => {
    const worker = await s.worker({ options: { leaseMs: 3000, cancelGraceMs: 500 } });
    const limit = { maxRuntimeMs: 4000 };
    const behaviour = { do: 'sleep', ms: 60_000 } as const;
    const retried = await s.client.enqueue('work', behaviour, limit);
    const spent = await s.client.enqueue('work', behaviour, { ...limit, maxFailures: 1 });
    const deaf = await s.client.enqueue('work', { do: 'ignore-abort', ms: 60_000 }, limit);

    for (const jobId of [retried, spent, deaf]) {
      const aborted = await worker.event('handler:aborted', (event) => event.jobId === jobId);
      expect(aborted.event.reason).toBe('max_runtime');
      const settled = await worker.event('job:settled', (event) => event.jobId === jobId);
      // Not late: the lease was still good when the verdict was written.
      expect(settled.event.late).toBe(false);

      const job = await s.client.job(jobId);
      const [attempt] = job.history;
      expect(attempt).toMatchObject({ outcome: 'failed', error: 'max_runtime_exceeded' });
      const ranMs = aborted.at - Number(attempt?.leasedAt);
      expect(ranMs).toBeGreaterThan(3500);
      expect(ranMs).toBeLessThan(limit.maxRuntimeMs + ROOM_MS);
    }
    expect((await s.client.job(retried)).failures).toBe(1);
    const dead = await s.client.job(spent);
    expect(dead).toMatchObject({ state: 'dead', reason: 'max_runtime_exceeded' });
  });

  scenario(
    'C03 two failed heartbeats in a row cost a warning each, not the lease',
    async ({ s }) => {
      const proxy = await s.proxy();
      const reset = proxy.plant({ sql: 'heartbeat_many', at: 'before-query', deed: 'rst', nth: 2 });
      const silent = proxy.plant({
        sql: 'heartbeat_many',
        at: 'before-query',
        deed: 'black-hole',
        nth: 3,
      });
      const worker = await s.worker({
        url: proxy.url,
        options: { leaseMs: 15_000, heartbeatMs: 2500 },
      });
      const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 10_000 });
      await worker.event('job:settled');

      expect([reset.fired, silent.fired]).toEqual([1, 1]);
      const warnings = worker.events('call:failed').filter(({ call }) => call === 'heartbeat');
      expect(warnings.map(({ error }) => error.code)).toEqual(['ECONNRESET', 'deadline_exceeded']);
      expect(proxy.seen('heartbeat_many').length).toBeGreaterThan(3);
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 1,
        losses: 0,
      });
      expect(worker.events('handler:aborted')).toEqual([]);
      expect(worker.events('job:lost')).toEqual([]);
      expect(await s.invocations()).toHaveLength(1);
    },
  );

  scenario(
    'C03 a connection that is slow to come about is not given up with each heartbeat',
    async ({ s }) => {
      const heartbeatMs = 1000;
      const proxy = await s.proxy();
      proxy.connectDelayMs = 1.5 * heartbeatMs;
      const worker = await s.worker({ url: proxy.url, options: { leaseMs: 9000, heartbeatMs } });
      const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 12_000 });
      const cut = proxy.plant({ sql: 'heartbeat_many', at: 'before-query', deed: 'rst' });
      await worker.event('job:settled');

      expect(cut.fired).toBe(1);
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 1,
        losses: 0,
      });
      expect(worker.events('handler:aborted')).toEqual([]);
    },
  );

  scenario(
    'C03 a server that is slow on every new connection is given the time it needs',
    async ({ s }) => {
      const heartbeatMs = 1000;
      const proxy = await s.proxy();
      // More than a heartbeat may take, so that each would be the last on its connection.
      proxy.coldDelayMs = 0.8 * heartbeatMs;
      const worker = await s.worker({ url: proxy.url, options: { leaseMs: 9000, heartbeatMs } });
      const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 12_000 });
      const cut = proxy.plant({ sql: 'heartbeat_many', at: 'before-query', deed: 'rst' });
      await worker.event('job:settled');

      expect(cut.fired).toBe(1);
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 1,
        losses: 0,
      });
      expect(worker.events('handler:aborted')).toEqual([]);
    },
  );

  scenario(
    'C04 a heartbeat whose answer was lost is repeated with the same token',
    async ({ s }) => {
      const proxy = await s.proxy();
      const worker = await s.worker({
        url: proxy.url,
        options: { leaseMs: 15_000, heartbeatMs: 2500 },
      });
      const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 10_000 });
      await worker.event('job:started');
      const lease = async (): Promise<{ token: string; heartbeat_at: Date }> => {
        const { rows } = await s.pool.query('select token, heartbeat_at from leasehold.lease');
        return rows[0];
      };
      const before = await lease();
      const lost = proxy.plant({ sql: 'heartbeat_many', at: 'before-reply', deed: 'black-hole' });
      await lost.struck;
      const unheard = await lease();
      const beats = proxy.seen('heartbeat_many').length;
      await until(() => proxy.seen('heartbeat_many')[beats]?.answeredAt !== undefined);
      const after = await lease();

      expect(Number(unheard.heartbeat_at)).toBeGreaterThan(Number(before.heartbeat_at));
      expect(Number(after.heartbeat_at)).toBeGreaterThan(Number(unheard.heartbeat_at));
      expect(after.token).toBe(before.token);
      await worker.event('job:settled');
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 1,
        late: false,
      });
      for (const type of ['job:lost', 'job:revived', 'handler:aborted'] as const) {
        expect(worker.events(type)).toEqual([]);
      }
    },
  );

  /** Cuts the network silently while a job runs; answers when the last answered heartbeat was sent. */
  async function cutAfterHeartbeats(proxy: DatabaseProxy): Promise<number> {
    const answered = (): number[] =>
      proxy
        .seen('heartbeat_many')
        .filter(({ answeredAt }) => answeredAt !== undefined)
        .map(({ sentAt }) => sentAt);
    await until(() => answered().length >= 2);
    expect(proxy.blackHole()).toBeGreaterThan(0);
    return answered().at(-1) ?? 0;
  }
  const uncertain = { leaseMs: 3000, heartbeatMs: 600, renewDeadlineMs: 2000, concurrency: 1 };

  scenario(
    'C05 a handler is told before its lease can expire that nobody hears from the database',
    async ({ s }) => {
      const proxy = await s.proxy();
      const worker = await s.worker({ url: proxy.url, options: uncertain });
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [{ do: 'sleep', ms: 60_000 }, { do: 'return' }],
      });
      await worker.event('handler:started');
      const sentAt = await cutAfterHeartbeats(proxy);

      const aborted = await worker.event('handler:aborted');
      expect(aborted.event.reason).toBe('lease_lost');
      expect(aborted.at - sentAt).toBeGreaterThan(1500);
      const { rows } = await s.pool.query('select expires_at from leasehold.lease');
      expect(aborted.at).toBeLessThan(Number(rows[0].expires_at));
      await worker.event('handler:ended');

      // It threw, so no outcome is said of this attempt, then or later: the job is handed back.
      const unsettled = proxy.statements.length;
      proxy.heal();
      await worker.event('handler:started', (event) => event.attempt === 2);
      const said = proxy.statements.slice(unsettled).map(({ text }) => text);
      expect(said.filter((text) => /leasehold\.(complete|fail|dead_letter)/.test(text))).toEqual(
        [],
      );
      await worker.event('job:settled', (event) => event.attempt === 2);
      const job = await s.client.job(jobId);
      expect(job).toMatchObject({ state: 'completed', attempt: 2 });
      expect(job.history).toMatchObject([{ attempt: 1, outcome: 'released', counted: false }]);
      expect(worker.events('job:lost')).toHaveLength(1);
    },
  );

  scenario('C05 the database decides on what a handler returns after its signal', async ({ s }) => {
    const proxy = await s.proxy();
    const worker = await s.worker({ url: proxy.url, options: uncertain });
    const jobId = await s.client.enqueue('work', { do: 'return-on-abort' });
    await worker.event('handler:started');
    await cutAfterHeartbeats(proxy);
    await worker.event('handler:ended');
    await until(async () => ((await s.client.job(jobId)).remainingMs ?? 0) < 0);
    proxy.heal();

    // Nobody has leased the job since: guarantee G4.
    const settled = await worker.event('job:settled');
    expect(settled.event).toMatchObject({
      status: expect.stringMatching(/completed$/),
      attempt: 1,
    });
    expect(await s.client.job(jobId)).toMatchObject({ state: 'completed', late: true, attempt: 1 });
    expect(await s.invocations()).toHaveLength(1);
  });

  scenario('C05 a job is not started under a lease that ran out on its way', async ({ s }) => {
    const proxy = await s.proxy();
    const slow = proxy.plant({ sql: 'lease_jobs', at: 'before-ready', deed: { delayMs: 3000 } });
    const jobId = await s.client.enqueue('work', { do: 'return' });
    const worker = await s.worker({
      url: proxy.url,
      options: { leaseMs: 2000, callTimeoutMs: 10_000, maintenanceMs: 0 },
    });
    await worker.event('job:settled', (event) => event.status === 'completed');
    expect(slow.fired).toBe(1);
    expect(await s.invocations()).toMatchObject([{ jobId, attempt: 2 }]);
    expect(await s.client.job(jobId)).toMatchObject({ state: 'completed', losses: 0 });
  });

  scenario('C06 a handler that blocks its thread keeps its lease', async ({ s }) => {
    const leaseMs = 2000;
    const options = { leaseMs, concurrency: 1 };
    const workers = await Promise.all([
      s.worker({ name: 'w1', threadQueues: ['work'], options }),
      s.worker({ name: 'w2', threadQueues: ['work'], options }),
    ]);
    const jobId = await s.client.enqueue('work', { do: 'block', ms: 3 * leaseMs });
    const [holder] = await takenBy(jobId, ...workers);
    await holder.event('job:settled');

    const job = await s.client.job(jobId);
    expect(job).toMatchObject({ state: 'completed', attempt: 1, losses: 0, late: false });
    expect(job.result?.thread).toBeGreaterThan(0);
    expect(await s.invocations()).toHaveLength(1);
    expect(holder.events('job:lost')).toEqual([]);
  });

  scenario(
    'C06 a handler that blocks the event loop loses its job to another worker',
    async ({ s }) => {
      const leaseMs = 2000;
      const options = { leaseMs, concurrency: 1 };
      const workers = await Promise.all([
        s.worker({ name: 'w1', options }),
        s.worker({ name: 'w2', options }),
      ]);
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [
          { do: 'block', ms: 3 * leaseMs },
          { do: 'sleep', ms: 4 * leaseMs },
        ],
      });
      const [blocked, other] = await takenBy(jobId, ...workers);
      await other?.event('handler:started', (event) => event.attempt === 2);
      const refused = await blocked.event('outcome:refused');
      expect(refused.event).toMatchObject({ jobId, outcome: 'complete', status: 'lease_lost' });
      const lagged = await blocked.event('loop:lagged');
      expect(lagged.event.lagMs).toBeGreaterThan(2 * leaseMs);

      await other?.event('job:settled');
      const job = await s.client.job(jobId);
      expect(job).toMatchObject({ state: 'completed', attempt: 2, losses: 0 });
      expect(job.result?.by).toBe(other?.name);
      expect(blocked.events('job:lost')).toHaveLength(1);
      expect(blocked.events('outcome:refused')).toHaveLength(1);
    },
  );

  scenario(
    'C07 a process that was frozen stops its handler before it renews anything',
    async ({ s }) => {
      const leaseMs = 2000;
      const proxy = await s.proxy();
      const options = { leaseMs, concurrency: 1 };
      const workers = await Promise.all([
        s.worker({ name: 'w1', url: proxy.url, options }),
        s.worker({ name: 'w2', url: proxy.url, options }),
      ]);
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [
          { do: 'ignore-abort', ms: 4 * leaseMs },
          { do: 'sleep', ms: 6 * leaseMs },
        ],
      });
      const [frozen, other] = await takenBy(jobId, ...workers);
      const beats = () => proxy.seen('heartbeat_many', { applicationName: frozen.name });
      await until(() => beats().length > 0);
      const stoppedAt = Date.now();
      frozen.kill('SIGSTOP');
      await other?.event('handler:started', (event) => event.attempt === 2);
      await until(() => Date.now() - stoppedAt > 2 * leaseMs);
      const before = beats().length;
      frozen.kill('SIGCONT');

      const aborted = await frozen.event('job:aborted');
      expect(aborted.event).toMatchObject({ jobId, attempt: 1, reason: 'lease_lost' });
      const refused = await frozen.event('outcome:refused');
      expect(refused.event).toMatchObject({ outcome: 'complete', status: 'lease_lost' });
      // What it holds no more it does not renew.
      expect(beats().length).toBe(before);
      await other?.event('job:settled');
      const job = await s.client.job(jobId);
      expect(job).toMatchObject({ state: 'completed', attempt: 2, late: false });
      expect(job.result?.by).toBe(other?.name);
      expect(frozen.events('job:lost')).toHaveLength(1);
    },
  );

  for (const hours of [1, -1]) {
    scenario(`C08 a worker whose clock is ${hours} h wrong works as any other`, async ({ s }) => {
      const heartbeatMs = 600;
      const proxy = await s.proxy();
      const worker = await s.worker({
        url: proxy.url,
        clockOffsetMs: hours * 3_600_000,
        options: { leaseMs: 3000, heartbeatMs, concurrency: 2 },
      });
      const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 9000 });
      const later = await s.client.enqueue('work', { do: 'return' }, { delayMs: 4000 });
      const { runAt } = await s.client.job(later);
      await worker.event('job:settled', (event) => event.jobId === jobId);

      const sent = proxy.seen('heartbeat_many').map(({ sentAt }) => sentAt);
      const gaps = sent.slice(1).map((at, index) => at - (sent[index] ?? 0));
      // The middle one: on a busy machine a late heartbeat comes close to the next, or is repeated.
      const middle = gaps.toSorted((one, other) => one - other)[Math.floor(gaps.length / 2)];
      expect(middle).toBeGreaterThanOrEqual(heartbeatMs / 2 - 50);
      expect(sent.length).toBeGreaterThanOrEqual(9000 / heartbeatMs / 2);
      expect(await s.client.job(jobId)).toMatchObject({ state: 'completed', attempt: 1 });
      expect(await s.client.job(later)).toMatchObject({ state: 'completed', attempt: 1 });
      const [run] = await s.invocations(later);
      const lateMs = Number(run?.startedAt) - Number(runAt);
      expect(lateMs).toBeGreaterThanOrEqual(0);
      expect(lateMs).toBeLessThan(ROOM_MS);
      expect(await s.invocations()).toHaveLength(2);
      expect(worker.events('handler:aborted')).toEqual([]);
    });
  }

  scenario('C12 a lease of 1.5 s lasts 1.5 s', async ({ s }) => {
    await s.client.enqueue('work', { do: 'return' });
    const workerId = crypto.randomUUID();
    const [job] = await s.client.leaseJobs(['work'], { workerId, leaseMs: 1500 });
    expect(job).toMatchObject({ leaseMs: 1500, remainingMs: 1500 });
    const { rows } = await s.pool.query(
      'select extract(epoch from expires_at - leased_at)::float8 as seconds from leasehold.lease',
    );
    expect(rows).toEqual([{ seconds: 1.5 }]);
  });

  scenario('C12 a bad lease length is refused before any row is locked', async ({ s }) => {
    await s.client.enqueue('work', { do: 'return' });
    const holder = await s.pool.connect();
    try {
      // Whoever touched a row now would wait for this transaction.
      await holder.query('begin');
      await holder.query(
        'lock table leasehold.ready, leasehold.lease, leasehold.job in access exclusive mode',
      );
      for (const lease of [
        '0',
        '-1 s',
        '0.999 s',
        '1 day 1 s',
        '100 years',
        '-infinity',
        'infinity',
      ]) {
        const call = s.pool.query('select leasehold.lease_jobs($1, gen_random_uuid(), 1, $2)', [
          ['work'],
          lease,
        ]);
        // PostgreSQL before 17 knows no infinite intervals.
        await expect(call).rejects.toMatchObject({ code: expect.stringMatching(/^22(023|007)$/) });
      }
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    expect((await s.client.queueStats('work'))[0]).toMatchObject({ ready: 1, leased: 0 });
  });

  test('C12 a scheduler refuses bad lease lengths', () => {
    const handlers = { work: () => undefined };
    for (const leaseMs of [Number.NaN, 0, -1, 999, 86_400_001, Number.POSITIVE_INFINITY]) {
      expect(() => new Scheduler({ connection: '', handlers, leaseMs })).toThrow(
        expect.objectContaining({ code: 'invalid_argument' }),
      );
    }
    // What a caller without types may say.
    const untyped = JSON.parse('{ "leaseMs": "soon" }');
    expect(() => new Scheduler({ connection: '', handlers, ...untyped })).toThrow(LeaseholdError);
  });

  scenario('C14 one statement renews what is held and names what is not', async ({ s }) => {
    const workerId = crypto.randomUUID();
    await s.client.registerWorker(workerId, { queues: ['work'] });
    await s.client.enqueueMany(
      'work',
      Array.from({ length: 100 }, () => ({ payload: { do: 'return' } as const })),
    );
    const jobs = await s.client.leaseJobs(['work'], { workerId, limit: 100 });
    expect(jobs).toHaveLength(100);
    const [stolen, cancelled, busy] = jobs;
    if (!stolen || !cancelled || !busy) throw new Error('there are jobs');
    await steal(s.pool, stolen.jobId);
    expect(await s.client.cancel(cancelled.jobId)).toBe('requested');

    const answers = await s.client.heartbeatMany(jobs);
    const counts = (status: string): number =>
      answers.filter((answer) => answer.status === status).length;
    expect([counts('ok'), counts('lost')]).toEqual([99, 1]);
    expect(answers[0]).toMatchObject({ jobId: stolen.jobId, status: 'lost' });
    expect(answers.filter((answer) => answer.cancelRequested)).toMatchObject([
      { jobId: cancelled.jobId, status: 'ok' },
    ]);

    // A row that a transaction holds holds up nobody else.
    const holder = await s.pool.connect();
    await holder.query('begin');
    await s.client.using(holder).complete(busy.jobId, busy.token);
    const meanwhile = await s.client.heartbeatMany(jobs);
    expect(meanwhile.filter(({ status }) => status === 'busy')).toMatchObject([
      { jobId: busy.jobId },
    ]);
    await holder.query('rollback');
    holder.release();
  });

  scenario(
    'C14 only the handlers of the stolen and the cancelled job are told to stop',
    async ({ s }) => {
      const proxy = await s.proxy();
      await s.client.enqueueMany(
        'work',
        Array.from({ length: 100 }, () => ({ payload: { do: 'sleep', ms: 8000 } as const })),
      );
      const worker = await s.worker({
        url: proxy.url,
        options: { leaseMs: 6000, heartbeatMs: 1000, concurrency: 100 },
      });
      await until(() => worker.events('handler:started').length === 100);
      const [stolen, cancelled] = worker.events('handler:started').map(({ jobId }) => jobId);
      const connection = await s.pool.connect();
      await connection.query('begin');
      await steal(connection, stolen ?? '');
      await connection.query('select leasehold.cancel($1)', [cancelled]);
      const beats = proxy.seen('heartbeat_many').length;
      await connection.query('commit');
      connection.release();

      // That of the stolen job says that its lease is lost.
      await until(() => worker.events('job:settled').length === 100);
      expect(proxy.seen('heartbeat_many').length).toBeGreaterThan(beats);
      const aborted = worker.events('job:aborted');
      expect(aborted).toHaveLength(2);
      expect(aborted).toContainEqual(
        expect.objectContaining({ jobId: stolen, reason: 'lease_lost' }),
      );
      expect(aborted).toContainEqual(
        expect.objectContaining({ jobId: cancelled, reason: 'cancelled' }),
      );
      expect(worker.events('job:lost')).toMatchObject([{ jobId: stolen }]);
      const completed = worker.events('job:settled').filter(({ status }) => status === 'completed');
      expect(completed).toHaveLength(98);
      // One statement for all of them: no more than a few in the time they ran.
      expect(proxy.seen('heartbeat_many').length).toBeLessThan(60);
    },
  );

  scenario(
    'C16 handlers that hold every connection of a pool do not lose their leases',
    async ({ s }) => {
      const leaseMs = 1500;
      const pool = new pg.Pool({ connectionString: s.url, max: 2 });
      let let_go = (): void => undefined;
      const held = new Promise<void>((resolve) => {
        let_go = resolve;
      });
      const events: SchedulerEvent[] = [];
      const scheduler = new Scheduler({
        connection: s.url,
        leaseMs,
        handlers: {
          work: async () => {
            const connection = await pool.connect();
            await held;
            connection.release();
          },
        },
        onEvent: (event) => events.push(event),
      });
      await scheduler.start();
      const jobIds: string[] = [];
      for (let n = 0; n < 4; n++) jobIds.push(await s.client.enqueue('work', { do: 'return' }));
      await until(() => pool.idleCount === 0 && pool.totalCount === 2 && pool.waitingCount === 2);
      await sleep(3 * leaseMs);
      expect(pool).toMatchObject({ totalCount: 2, idleCount: 0, waitingCount: 2 });
      let_go();
      await until(() => scheduler.running === 0);
      await scheduler.stop();
      await pool.end();

      for (const jobId of jobIds) {
        expect(await s.client.job(jobId)).toMatchObject({
          state: 'completed',
          attempt: 1,
          late: false,
        });
      }
      expect(events.filter(({ type }) => type === 'job:lost' || type === 'job:aborted')).toEqual(
        [],
      );
    },
  );

  test('C16 handlers that use up the connections of the server do not lose their leases', async () => {
    const leaseMs = 1500;
    const server = await small;
    const sessions: pg.Client[] = [];
    let exhausted = false;
    const pool = new pg.Pool({ connectionString: server.url, max: 1 });
    await pool.query(`select leasehold.create_queue('work')`);
    const scheduler = new Scheduler({
      connection: server.url,
      leaseMs,
      handlers: {
        work: async () => {
          for (;;) {
            const session = new pg.Client({ connectionString: server.url });
            session.on('error', () => undefined);
            try {
              await session.connect();
              sessions.push(session);
            } catch (error) {
              expect(error).toMatchObject({ code: '53300' });
              exhausted = true;
              break;
            }
          }
          await sleep(3 * leaseMs);
          await Promise.all(sessions.map((session) => session.end()));
          return 'done';
        },
      },
    });
    await scheduler.start();
    const { rows } = await pool.query(`select leasehold.enqueue('work', '1')::text as job_id`);
    const jobId: string = rows[0].job_id;
    await until(async () => {
      const found = await pool.query('select state, attempt from leasehold.job($1)', [jobId]);
      if (found.rows[0].state !== 'completed') return false;
      expect(found.rows[0].attempt).toBe(1);
      return true;
    });
    expect(exhausted).toBe(true);
    await scheduler.stop();
    await pool.end();
  });

  test('C17 a scheduler refuses lengths that leave no room for lost heartbeats', () => {
    const make = (lengths: { leaseMs: number; heartbeatMs?: number; renewDeadlineMs?: number }) =>
      new Scheduler({ connection: '', handlers: { work: () => undefined }, ...lengths });
    const refused = [
      { leaseMs: 6000, renewDeadlineMs: 6000 },
      { leaseMs: 6000, renewDeadlineMs: 7000 },
      { leaseMs: 6000, heartbeatMs: 5000, renewDeadlineMs: 5500 },
      { leaseMs: 6000, heartbeatMs: 4000, renewDeadlineMs: 4800 },
      { leaseMs: 6000, heartbeatMs: 2500, renewDeadlineMs: 5000 },
      { leaseMs: 6000, heartbeatMs: 6000 },
    ];
    for (const lengths of refused) {
      expect(() => make(lengths)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    }
    for (const lengths of [{ leaseMs: 6000 }, { leaseMs: 6000, heartbeatMs: 2499 }]) {
      expect(() => make(lengths)).not.toThrow();
    }
  });
});

/** A server with hardly any connections to give. */
const small = createServer({ max_connections: 12, superuser_reserved_connections: 0 });

/** The lease of a job runs out, and another worker has the job. */
async function steal(db: pg.Pool | pg.ClientBase, jobId: string): Promise<void> {
  await db.query(
    `update leasehold.lease set expires_at = now() - interval '1 ms' where job_id = $1`,
    [jobId],
  );
  await db.query('select leasehold.reap_expired()');
  const { rows } = await db.query(
    `select job_id::text from leasehold.lease_jobs('{work}', gen_random_uuid())`,
  );
  expect(rows).toEqual([{ job_id: jobId }]);
}
