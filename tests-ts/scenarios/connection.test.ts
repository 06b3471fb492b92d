import { describe, expect } from 'vitest';
import { createServer } from '../support/database.ts';
import { type Scenario, scenario } from '../support/scenario.ts';
import { withClient } from '../support/server.ts';
import { until } from '../support/wait.ts';
import type { WorkerProcess } from '../support/worker-process.ts';

const server = await createServer();

/** A bound of the scenario, with room for a machine that is busy with other things. */
const PATIENCE_MS = 10_000;

describe.concurrent('connection loss and wake-up', { timeout: 120_000 }, () => {
  scenario(
    'C40 a worker that lost all its connections goes on, and so does its long job',
    async ({ s }) => {
      const worker = await s.worker({ options: { leaseMs: 6000, concurrency: 4 } });
      const long = await s.client.enqueue('work', { do: 'sleep', ms: 30_000 });
      const { at: startedAt } = await worker.event('handler:started');
      await s.client.enqueueMany(
        'work',
        Array.from({ length: 20 }, () => ({ payload: { do: 'sleep', ms: 2000 } as const })),
      );
      await until(() => Date.now() - startedAt > 5000);
      await until(async () => (await s.sessions(worker.name)) === 3);
      expect(await terminate(s, worker.name)).toBe(3);
      const killedAt = Date.now();

      const next = await worker.event('handler:started', undefined, {
        from: worker.reports.length,
      });
      expect(next.at - killedAt).toBeLessThan(5000 + PATIENCE_MS);
      await until(() => worker.events('job:settled').length === 21);
      expect(await s.client.job(long)).toMatchObject({
        state: 'completed',
        attempt: 1,
        losses: 0,
        late: false,
      });
      const runs = await s.invocations();
      expect(runs).toHaveLength(21);
      expect(new Set(runs.map(({ jobId }) => jobId)).size).toBe(21);
      expect(worker.events('job:lost')).toEqual([]);
    },
  );

  scenario(
    'C42 a listener whose backend was killed listens again, and looks for what it missed',
    async ({ s }) => {
      const proxy = await s.proxy();
      const worker = await s.worker({
        listenUrl: proxy.url,
        // Nothing is found by polling while this test runs.
        options: { pollMs: 600_000 },
      });
      await worker.event('listener:connected');
      proxy.refuse();
      expect(await terminate(s, `${worker.name}-listen`)).toBe(1);
      await worker.event('listener:lost');
      await until(() => proxy.refused >= 3);
      const missed = await s.client.enqueue('work', { do: 'return' });
      // Backoff, not a storm.
      expect(proxy.refused).toBeLessThan(20);
      expect(worker.events('handler:started')).toEqual([]);

      const healedAt = worker.reports.length;
      proxy.heal();
      const listening = await worker.event('listener:connected', undefined, { from: healedAt });
      const caughtUp = await worker.event('handler:started', ({ jobId }) => jobId === missed);
      expect(caughtUp.at - listening.at).toBeLessThan(PATIENCE_MS);

      await worker.event('job:settled', ({ jobId }) => jobId === missed);
      expect(await startedAfter(s, worker)).toBeLessThan(PATIENCE_MS);
    },
  );

  scenario(
    'C43 a listener that hears nothing from a dead connection finds out by itself',
    async ({ s }) => {
      const probeMs = 1000;
      const callTimeoutMs = 2500;
      const proxy = await s.proxy();
      const worker = await s.worker({
        listenUrl: proxy.url,
        options: { pollMs: 1000, probeMs, callTimeoutMs },
      });
      await worker.event('listener:connected');
      const [listening] = proxy.connections({ role: 'listen' });
      listening?.blackHole();
      const struckAt = Date.now();
      // It polls meanwhile.
      expect(await startedAfter(s, worker)).toBeLessThan(PATIENCE_MS);

      const lost = await worker.event('listener:lost');
      expect(lost.at - struckAt).toBeLessThan(probeMs + callTimeoutMs + PATIENCE_MS);
      await until(() => worker.events('listener:connected').length === 2);
      // A probe that comes back: it is not deaf.
      const probes = proxy.seen('pg_notify').length;
      await until(() => proxy.seen('pg_notify').length > probes + 1);
      expect(worker.events('listener:deaf')).toEqual([]);
    },
  );

  scenario('C44 a worker that no notification reaches polls, and says so once', async ({ s }) => {
    const proxy = await s.proxy();
    proxy.dropNotifications = true;
    const worker = await s.worker({
      url: proxy.url,
      options: { pollMs: 1000, probeMs: 400, callTimeoutMs: 2500 },
    });
    await worker.event('listener:deaf');
    for (let n = 0; n < 3; n++) expect(await startedAfter(s, worker)).toBeLessThan(PATIENCE_MS);
    const probes = (): number => proxy.seen('pg_notify', { role: 'listen' }).length;
    await until(() => probes() >= 4);

    expect(worker.events('listener:deaf')).toHaveLength(1);
    expect(proxy.droppedNotifications).toBeGreaterThan(0);
    expect(worker.events('listener:lost')).toEqual([]);
  });

  scenario('C45 a completion is repeated until the database is back', async ({ s }) => {
    const proxy = await s.proxy();
    const worker = await s.worker({ url: proxy.url, options: { leaseMs: 20_000 } });
    const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 1000 });
    await worker.event('handler:started');
    await until(() => proxy.connections().length === 3);
    expect(proxy.cut()).toBe(3);
    await worker.event('handler:ended');
    const failed = (): number =>
      worker.events('call:failed').filter(({ call }) => call === 'settle').length;
    await until(() => failed() >= 2);
    expect((await s.client.job(jobId)).state).toBe('leased');
    proxy.heal();

    const settled = await worker.event('job:settled');
    expect(settled.event).toMatchObject({ jobId, late: false });
    expect(await s.client.job(jobId)).toMatchObject({ state: 'completed', attempt: 1, losses: 0 });
    expect(await s.invocations()).toHaveLength(1);
    expect(proxy.refused).toBeGreaterThan(0);
  });

  scenario(
    'C46 a completion that comes after another worker took the job is discarded',
    async ({ s }) => {
      const proxy = await s.proxy();
      const options = { leaseMs: 3000, concurrency: 1 };
      const first = await s.worker({ name: 'w1', url: proxy.url, options });
      const jobId = await s.client.enqueue('work', {
        do: 'by-attempt',
        attempts: [
          { do: 'ignore-abort', ms: 2000 },
          { do: 'sleep', ms: 12_000 },
        ],
      });
      await first.event('handler:started');
      await until(() => proxy.connections().length === 3);
      expect(proxy.cut('fin')).toBe(3);
      const second = await s.worker({ name: 'w2', options });
      await second.event('handler:started', ({ attempt }) => attempt === 2);
      await first.event('call:failed', ({ call }) => call === 'settle');
      proxy.heal();

      const refused = await first.event('outcome:refused');
      expect(refused.event).toMatchObject({ jobId, outcome: 'complete', status: 'lease_lost' });
      await second.event('job:settled');
      const job = await s.client.job(jobId);
      expect(job).toMatchObject({ state: 'completed', attempt: 2, late: false });
      expect(job.result?.by).toBe('w2');
      expect(first.events('outcome:refused')).toHaveLength(1);
      expect(first.events('job:settled')).toMatchObject([{ jobId, status: 'lease_lost' }]);
      expect(await s.invocations()).toMatchObject([
        { worker: 'w1', outcome: 'returned' },
        { worker: 'w2', outcome: 'returned' },
      ]);
    },
  );

  scenario(
    'C48 a fetch that never ends is given up, and its jobs are found again',
    async ({ s }) => {
      const proxy = await s.proxy();
      const unheard = proxy.plant({ sql: 'lease_jobs', at: 'before-reply', deed: 'black-hole' });
      const unsent = proxy.plant({
        sql: 'lease_jobs',
        at: 'before-query',
        deed: 'black-hole',
        nth: 2,
      });
      const jobId = await s.client.enqueue('work', { do: 'return' });
      const worker = await s.worker({
        url: proxy.url,
        options: { leaseMs: 30_000, callTimeoutMs: 3000 },
      });
      await unheard.struck;
      // The database has leased it, and the worker does not know.
      expect((await s.client.job(jobId)).state).toBe('leased');
      await unsent.struck;
      await worker.event('job:settled');

      expect([unheard.fired, unsent.fired]).toEqual([1, 1]);
      const fetches = proxy.seen('lease_jobs').slice(0, 3);
      expect(new Set(fetches.map(({ connection }) => connection)).size).toBe(3);
      const warnings = worker.events('call:failed').filter(({ call }) => call === 'lease');
      expect(warnings.map(({ error }) => error.code).slice(0, 2)).toEqual([
        'deadline_exceeded',
        'deadline_exceeded',
      ]);
      expect(await s.client.job(jobId)).toMatchObject({
        state: 'completed',
        attempt: 1,
        losses: 0,
      });
      expect(await s.invocations()).toHaveLength(1);
      const next = await s.client.enqueue('work', { do: 'return' });
      await worker.event('job:settled', (event) => event.jobId === next);
    },
  );

  scenario('C48 a fetch that hangs holds up no heartbeat', async ({ s }) => {
    const leaseMs = 4000;
    const proxy = await s.proxy();
    const worker = await s.worker({
      url: proxy.url,
      options: { leaseMs, callTimeoutMs: 3 * leaseMs, concurrency: 2 },
    });
    const jobId = await s.client.enqueue('work', { do: 'sleep', ms: 2 * leaseMs });
    await worker.event('handler:started');
    const hung = proxy.plant({ sql: 'lease_jobs', at: 'before-query', deed: 'black-hole' });
    await hung.struck;

    // Its result has to wait for the connection; its lease does not run out meanwhile.
    const settled = await worker.event('job:settled');
    expect(settled.event).toMatchObject({ jobId, attempt: 1, status: 'completed', late: false });
    expect(worker.events('job:lost')).toEqual([]);
    expect(worker.events('handler:aborted')).toEqual([]);
    const beats = proxy.seen('heartbeat_many').map(({ connection }) => connection.role);
    expect(beats.length).toBeGreaterThanOrEqual(4);
    expect(new Set(beats)).toEqual(new Set(['heart']));
  });
});

// They share a server, and restart it: one at a time.
describe.sequential('restart', { timeout: 120_000 }, () => {
  for (const mode of ['fast', 'immediate'] as const) {
    scenario(`C49 leases survive a restart of the server (${mode})`, async ({ s }) => {
      const queue = `restart ${mode}`;
      await withClient(server.url, (client) =>
        client.query('select leasehold.create_queue($1)', [queue]),
      );
      const spec = {
        url: server.url,
        queues: [queue],
        options: { leaseMs: 20_000, heartbeatMs: 1500, concurrency: 2 },
      };
      const workers = await Promise.all([
        s.worker({ ...spec, name: `w1 ${mode}` }),
        s.worker({ ...spec, name: `w2 ${mode}` }),
      ]);
      const jobIds = await withClient(server.url, async (client) => {
        const { rows } = await client.query(
          'select unnest(leasehold.enqueue_many($1, $2))::text as job_id',
          [queue, JSON.stringify(Array(4).fill({ payload: { do: 'sleep', ms: 12_000 } }))],
        );
        return rows.map(({ job_id }) => String(job_id));
      });
      await until(async () => (await s.invocations()).length === 4);
      const before = await leases(server.url);
      expect(before).toHaveLength(4);
      await server.restart(mode);

      const after = await leases(server.url);
      expect(after.map(({ token }) => token)).toEqual(before.map(({ token }) => token));
      await until(async () => {
        const now = await leases(server.url);
        return now.every(({ age_ms }) => age_ms < 1500) && now.length === 4;
      });
      await until(() => workers.flatMap((worker) => worker.events('job:settled')).length === 4);
      for (const { status, late } of workers.flatMap((worker) => worker.events('job:settled'))) {
        expect(status).toMatch(/completed$/);
        expect(late).toBe(false);
      }
      const runs = await s.invocations();
      expect(runs.map(({ jobId }) => jobId).sort()).toEqual([...jobIds].sort());
      expect(workers.flatMap((worker) => worker.events('job:lost'))).toEqual([]);
    });
  }
});

/** Ends the backends of an application; answers how many there were. */
async function terminate(s: Scenario, applicationName: string): Promise<number> {
  const { rows } = await s.pool.query(
    `select count(pg_terminate_backend(pid))::int as ended
     from pg_stat_activity where application_name = $1 and datname = current_database()`,
    [applicationName],
  );
  return rows[0].ended;
}

/** Enqueues a job; answers after how long the worker has started it. */
async function startedAfter(s: Scenario, worker: WorkerProcess): Promise<number> {
  const at = Date.now();
  const jobId = await s.client.enqueue('work', { do: 'return' });
  const started = await worker.event('handler:started', (event) => event.jobId === jobId);
  return started.at - at;
}

async function leases(url: string): Promise<{ token: string; age_ms: number }[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query(
      `select token, (extract(epoch from clock_timestamp() - heartbeat_at) * 1000)::float8 as age_ms
       from leasehold.lease order by job_id`,
    );
    return rows;
  });
}
