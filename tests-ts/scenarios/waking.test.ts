import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { Client } from '../../client/index.ts';
import { Waiting } from '../../client/waiting.ts';
import { createDatabase, createServer } from '../support/database.ts';
import { startPooler } from '../support/pooler.ts';
import { startProxy } from '../support/proxy.ts';
import { startRecorded } from '../support/recorded.ts';
import { Session } from '../support/sessions.ts';
import { until, untilBlocked } from '../support/wait.ts';
import { processIdOf, setWaiting } from '../support/waiting.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url, application_name: 'test' });
pool.on('error', () => undefined);
afterAll(() => pool.end());
const client = new Client(pool);
let queues = 0;

async function createQueue(): Promise<string> {
  const queue = `waking ${++queues}`;
  await client.createQueue(queue);
  return queue;
}

/** Advisory locks of these server processes, by process. */
async function locksOf(pids: readonly number[]): Promise<number[]> {
  const { rows } = await pool.query<{ locks: number }>(
    `select count(*)::int4 as locks from pg_locks
     where locktype = 'advisory' and pid = any ($1) group by pid order by pid`,
    [pids],
  );
  return rows.map(({ locks }) => locks);
}

describe('waking', () => {
  test('S24 ten sessions that wait for a thousand queues hold two locks each', async () => {
    const names = Array.from({ length: 1000 }, (_, n) => `one of many ${n}`);
    await pool.query('insert into leasehold.queue (name) select unnest($1::text[])', [names]);
    const sessions = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const session = new pg.Client({ connectionString: url });
        await session.connect();
        onTestFinished(() => session.end());
        return session;
      }),
    );
    const pids: number[] = [];
    for (const session of sessions) {
      await until(async () => (await setWaiting(session, names, 'told')) !== null);
      const { rows } = await session.query('select pg_backend_pid() as pid');
      pids.push(rows[0].pid);
    }
    expect(await locksOf(pids)).toEqual(Array(10).fill(2));
  });

  test('S38 a scheduler behind a transaction pooler leaves nothing on its sessions, and polls', async () => {
    const queue = await createQueue();
    const pooler = await startPooler(url, 2);
    onTestFinished(() => pooler.close());
    const scheduler = await startRecorded({
      connection: pooler.url,
      pollMs: 100,
      handlers: { [queue]: () => 'done' },
    });
    await scheduler.event('listener:deaf');
    for (let n = 0; n < 5; n++) await scheduler.settled(await client.enqueue(queue, n));
    expect(scheduler.eventsOf('listener:connected')).toEqual([]);
    await scheduler.stop();
    await until(() => pooler.clients === 0);

    const next = new pg.Client({ connectionString: pooler.url });
    await next.connect();
    const listening = 'select count(*)::int4 as channels from pg_listening_channels()';
    await next.query('begin');
    const other = new pg.Client({ connectionString: pooler.url });
    await other.connect();
    for (const session of [next, other]) {
      expect((await session.query(listening)).rows).toEqual([{ channels: 0 }]);
    }
    expect(await locksOf(pooler.pids)).toEqual([]);
    await next.query('commit');
    await Promise.all([next.end(), other.end()]);
  });

  test('S41 notifications that anybody may send bring no more than a few calls a second', async () => {
    const queue = await createQueue();
    const proxy = await startProxy(url);
    onTestFinished(() => proxy.close());
    const scheduler = await startRecorded({
      connection: proxy.url,
      concurrency: 1,
      pollMs: 60_000,
      maintenanceMs: 0,
      handlers: { [queue]: () => 'done' },
    });
    await scheduler.settled(await client.enqueue(queue, 'first'));
    const { rows } = await pool.query('select queue_id from leasehold.queue where name = $1', [
      queue,
    ]);
    const forger = await pool.connect();
    const before = proxy.statements.length;
    const startedAt = performance.now();
    const rounds = 1000;
    for (let n = 0; n < rounds; n++) {
      await forger.query(
        `select pg_notify('leasehold', forged) from unnest($1::text[]) as forged`,
        [
          [
            `ready:${rows[0].queue_id}`,
            `cancel:${scheduler.workerId}`,
            `probe:${scheduler.workerId}`,
          ],
        ],
      );
    }
    forger.release();
    // What they bring has gone by once this has been heard.
    await scheduler.settled(await client.enqueue(queue, 'last'));
    const seconds = (performance.now() - startedAt) / 1000;
    const calls = proxy.statements.slice(before).length;
    expect(calls).toBeLessThan(40 + 10 * seconds);
    expect(calls).toBeLessThan(rounds);
  });

  test('S41 a hint does not have a call made again that the server refuses', async () => {
    const queue = await createQueue();
    const proxy = await startProxy(url);
    onTestFinished(() => proxy.close());
    const scheduler = await startRecorded({
      connection: proxy.url,
      pollMs: 3_600_000,
      maintenanceMs: 0,
      handlers: { [queue]: () => 'done' },
    });
    await until(() => proxy.seen('set_waiting').some(({ answeredAt }) => answeredAt !== undefined));
    const refuse = `raise 'not today' using errcode = 'invalid_parameter_value'`;
    await pool.query(`
      create function refuse() returns trigger language plpgsql as $$ begin ${refuse}; end $$;
      create trigger refuse before insert on leasehold.lease execute function refuse()`);
    onTestFinished(async () => {
      await pool.query('drop function refuse cascade');
    });
    await client.enqueue(queue, 'refused');
    await scheduler.event('call:failed', ({ call }) => call === 'lease');
    const looks = proxy.seen('lease_jobs').length;
    const beats = proxy.seen('register_worker').length;
    const { rows } = await pool.query('select queue_id from leasehold.queue where name = $1', [
      queue,
    ]);
    for (const hint of [`ready:${rows[0].queue_id}`, `cancel:${scheduler.workerId}`]) {
      await pool.query(`select pg_notify('leasehold', $1)`, [hint]);
    }
    await until(() => proxy.seen('register_worker').length > beats);
    expect(proxy.seen('lease_jobs').length).toBe(looks);
  });

  test.each([
    ['heartbeat', 'select status from leasehold.heartbeat($1, $2)'],
    [
      'heartbeat_many',
      'select status from leasehold.heartbeat_many(array[$1::bigint], array[$2::uuid])',
    ],
  ])('S41 %s is in time for a lease that lapses while it waits for the row', async (_, sql) => {
    const queue = await createQueue();
    const [holder, beating] = [await Session.open(url), await Session.open(url)];
    const observer = await pool.connect();
    onTestFinished(() => observer.release());
    const jobId = await client.enqueue(queue, 1);
    const [lease] = await client.leaseJobs([queue], { workerId: randomUUID() });
    let status: string | null = null;
    const race = async (): Promise<void> => {
      await holder.begin();
      await holder.rows('select leasehold.cancel($1)', [jobId]);
      const beat = beating.value(sql, [jobId, lease?.token]);
      // It may also have given up, since it waits for a tenth of a second only.
      await Promise.race([untilBlocked(observer, { pid: beating.pid }), beat]);
      const lapse = `update leasehold.lease set expires_at = clock_timestamp() where job_id = $1`;
      await holder.rows(lapse, [jobId]);
      await holder.commit();
      status = await beat;
    };
    await until(async () => {
      await race();
      return status !== 'busy';
    });
    expect(status).toBe('ok');
  });
});

describe('stopping', () => {
  test('S05 a session that waits to ask again, since another is in its way, does not once it is to ask no more', async () => {
    const queue = await createQueue();
    const [session, other] = [new pg.Client(url), new pg.Client(url)];
    await Promise.all([session.connect(), other.connect()]);
    onTestFinished(async () => {
      await Promise.all([session.end(), other.end()]);
    });
    await other.query(
      `select pg_advisory_lock(leasehold._waiting_class(), queue_id)
       from leasehold.queue where name = $1`,
      [queue],
    );
    let isAnswered = false;
    const waiting = new Waiting({
      client: Client.unchecked({
        query: (text, values) =>
          session.query(text, values).finally(() => {
            isAnswered = true;
          }),
      }),
      queues: [queue],
      backendPid: () => processIdOf(session),
      giveUp: async () => undefined,
    });
    let isOver = false;
    const asked = waiting.ask().then(() => {
      isOver = true;
    });
    while (!isAnswered) await new Promise(setImmediate);
    await new Promise(setImmediate);
    waiting.retire();
    await new Promise(setImmediate);
    expect(isOver).toBe(true);
    await asked;
  });
});

describe('two-phase commit', () => {
  test('S31 a transaction that wakes nobody can be prepared, whoever waits', async () => {
    const server = await createServer({ max_prepared_transactions: 5 });
    const sleeper = new pg.Client({ connectionString: server.url });
    const producer = new pg.Client({ connectionString: server.url });
    await Promise.all([sleeper.connect(), producer.connect()]);
    onTestFinished(async () => {
      await Promise.all([sleeper.end(), producer.end()]);
    });
    const enqueuer = new Client(producer);
    await enqueuer.createQueue('prepared');
    await sleeper.query('listen leasehold');
    await setWaiting(sleeper, ['prepared'], 'told');
    const [running] = [await enqueuer.enqueue('prepared', 'to be cancelled')];
    await enqueuer.leaseJobs(['prepared'], { workerId: randomUUID() });

    await producer.query('begin');
    await producer.query("set local leasehold.notify = 'off'");
    const one = await enqueuer.enqueue('prepared', 1);
    const more = await enqueuer.enqueueMany(
      'prepared',
      Array.from({ length: 10 }, (_, n) => ({ payload: n, priority: 1 })),
    );
    expect(await enqueuer.cancel(running)).toBe('requested');
    await producer.query("prepare transaction 'of a test'");
    expect(await enqueuer.leaseJobs(['prepared'], { workerId: randomUUID() })).toEqual([]);

    // The mark passes none of them meanwhile, although their session has gone on.
    await producer.query(
      `select setval('leasehold.job_job_id_seq', nextval('leasehold.job_job_id_seq') + 10000)`,
    );
    await producer.query(
      `select leasehold._advance_mark(mark.queue_id) from leasehold.mark as mark`,
    );
    await producer.query("commit prepared 'of a test'");
    const jobs = await enqueuer.leaseJobs(['prepared'], { workerId: randomUUID(), limit: 20 });
    expect(jobs.map(({ jobId }) => jobId)).toEqual([...more, one]);
  });
});
