import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { Scheduler, type SchedulerEvent } from '../../client/index.ts';
import { packageRoot } from '../../client/package-root.ts';
import { installSql } from '../../scripts/manifest.ts';
import { createDatabase, createServer, databaseUrl, withClient } from '../support/database.ts';
import { COMPLETE, expired, lease, Session } from '../support/sessions.ts';
import { until } from '../support/wait.ts';

const url = await createDatabase();
const admin = await Session.open(url);
const one = await Session.open(url);
const two = await Session.open(url);

const TICK = 'select promoted, reaped, pruned, failed from leasehold.tick()';
let queues = 0;

async function queue(settings = ''): Promise<string> {
  const name = `maintained ${++queues}`;
  await admin.rows(`select leasehold.create_queue($1${settings})`, [name]);
  return name;
}

/** Jobs that have ended, and whose retention has passed. */
async function past(name: string, jobs: number): Promise<void> {
  await admin.rows(
    `with written as (
       insert into leasehold.job (enqueued_at, queue_id, priority, payload)
       select clock_timestamp(), queue.queue_id, 5, '1'
       from leasehold.queue as queue, generate_series(1, $2::integer)
       where queue.name = $1
       returning job_id, queue_id
     )
     insert into leasehold.finished (
       job_id, queue_id, priority, attempt, releases, failures, losses, outcome, finished_at, keep_until
     )
     select job_id, queue_id, 5, 1, 0, 0, 0, 'completed',
       clock_timestamp() - interval '2 days', clock_timestamp() - interval '1 day'
     from written`,
    [name, jobs],
  );
}

async function due(name: string): Promise<string | null> {
  const job = await admin.value(`select leasehold.enqueue($1, '1', p_delay => '1 hour')`, [name]);
  await admin.rows('update leasehold.scheduled set run_at = clock_timestamp() where job_id = $1', [
    job,
  ]);
  return job;
}

const pruned = (name: string) =>
  admin.value('select pruned from leasehold.queue_stats($1)', [name]);
const stateOf = (jobId: string | null) =>
  admin.value('select state from leasehold.job($1)', [jobId]);

beforeEach(async () => {
  for (const session of [one, two]) {
    await session.rollback();
    await session.rows('reset all');
  }
  for (const table of ['job', 'finished', 'scheduled', 'ready', 'lease', 'attempt', 'dedup']) {
    await admin.rows(`truncate leasehold.${table}`);
  }
  await admin.rows(`update leasehold.upkeep
     set due_at = '-infinity', failures = 0, error = null, done_until = '-infinity'`);
});

describe('S07 each task of maintenance fails alone', () => {
  test('S07 promotion and reaping are kept though the time of the statement is up in prune', async () => {
    const name = await queue();
    const lapsed = await expired(admin);
    const job = await due(name);
    await past(name, 1);
    await admin.rows(
      `create function public.dawdle() returns trigger language plpgsql
         as $$ begin perform pg_sleep(3600); return old; end $$;
       create trigger dawdle before delete on leasehold.finished
         for each row execute function public.dawdle()`,
    );
    try {
      await two.rows(`set statement_timeout = '1s'`);
      const [answer] = await two.rows(TICK);
      expect(answer).toMatchObject({
        promoted: '1',
        reaped: '1',
        pruned: '0',
        failed: '{finished}',
      });
    } finally {
      await admin.rows('drop function public.dawdle() cascade');
    }
    expect([await stateOf(job), await stateOf(lapsed.jobId)]).toEqual(['ready', 'ready']);
    expect(await admin.value(`select error from leasehold.upkeep where task = 'finished'`)).toMatch(
      /statement timeout/,
    );
  });

  test('S07 a table that a stranger has locked stops one task, until it is free again', async () => {
    const name = await queue();
    const job = await due(name);
    const lapsed = await expired(admin);
    await past(name, 1);
    await one.begin();
    await one.rows('lock table leasehold.finished in share mode');
    const [answer] = await two.rows(TICK);
    expect(answer).toMatchObject({ promoted: '1', reaped: '1', failed: '{finished}' });
    expect(
      await two.value(
        `select count(*) from pg_locks where pid = pg_backend_pid() and relation = 'leasehold.finished'::regclass`,
      ),
    ).toBe('0');
    await one.rollback();
    expect([await stateOf(job), await stateOf(lapsed.jobId)]).toEqual(['ready', 'ready']);
    await until(async () => (await two.value('select pruned from leasehold.tick()')) === '1');
    expect(await admin.value(`select failures from leasehold.upkeep where task = 'finished'`)).toBe(
      '0',
    );
  });

  test('S07 a transaction that has created a queue keeps tick from nothing', async () => {
    const name = await queue();
    await past(name, 1);
    const job = await due(name);
    await one.begin();
    await one.rows(`select leasehold.create_queue('made meanwhile', p_keep_completed => '1 year')`);
    await until(async () => (await two.value('select promoted from leasehold.tick()')) === '1');
    await one.rollback();
    expect([await stateOf(job), await pruned(name)]).toEqual(['ready', '1']);
  });

  test('S07 a second prune waits for nothing that the first one holds', async () => {
    const name = await queue();
    await past(name, 1500);
    await two.rows(`set lock_timeout = '5s'`);
    await one.begin();
    expect(await one.value('select leasehold.prune(600)')).toBe('600');
    // Passed over are the jobs of the first one, and no others.
    expect(await two.value('select leasehold.prune()')).toBe('900');
    await one.commit();
    expect(await pruned(name)).toBe('1500');
  });

  test('S07 a transaction that has ticked and was forgotten does not stop maintenance', async () => {
    const name = await queue();
    await one.begin();
    await one.rows('select leasehold.tick()');
    const lapsed = await expired(admin);
    const job = await due(name);
    await past(name, 1);
    expect(await two.value('select promoted from leasehold.tick()')).toBe('1');
    await one.commit();
    expect(await stateOf(job)).toBe('ready');
    expect([await stateOf(lapsed.jobId), await pruned(name)]).toEqual(['ready', '1']);
  });

  test('S07 a transaction that has registered a worker and was forgotten keeps prune from its lost jobs alone', async () => {
    const name = await queue(`, p_max_losses => 5`);
    const worker = '00000000-0000-4000-8000-000000000007';
    const register = `select leasehold.register_worker($1, array[$2], p_secret => $1)`;
    await admin.rows(register, [worker, name]);
    await admin.rows(`select leasehold.enqueue($1, '1')`, [name]);
    await admin.rows('select from leasehold.lease_jobs(array[$2], $1)', [worker, name]);
    await admin.rows(
      `update leasehold.lease
       set expires_at = clock_timestamp() - interval '1 ms', heartbeat_at = leased_at`,
    );
    await admin.rows(`update leasehold.worker set heartbeat_at = heartbeat_at - interval '1 hour'`);
    await admin.rows('select leasehold.reap_expired()');
    const { jobId, token } = await lease(admin, name);
    await admin.value(COMPLETE, [jobId, token]);
    await admin.rows('update leasehold.finished set keep_until = finished_at');
    await past(name, 2);
    await one.begin();
    await one.rows(register, [worker, name]);
    expect(
      await one.value('select excused from leasehold.attempt where job_id = $1', [jobId]),
    ).toBe('t');
    expect(await two.rows(TICK)).toMatchObject([{ pruned: '2', failed: '{}' }]);
    await one.commit();
    expect(await two.value('select leasehold.prune()')).toBe('1');
  });

  test('S07 a transaction that saw the clock set back and was forgotten keeps nobody from reaping', async () => {
    const lapsed = await expired(admin);
    await admin.rows(
      `update leasehold.upkeep set last_run_at = clock_timestamp() + interval '1 hour' where task = 'look'`,
    );
    await admin.rows(
      `insert into leasehold.outage (started_at, ended_at)
       select clock_timestamp() + interval '1 minute', clock_timestamp() + interval '1 hour'`,
    );
    await two.rows(`set lock_timeout = '5s'`);
    await one.begin();
    await one.rows('select leasehold.reap_expired(1)');
    const other = await expired(admin);
    expect(await two.value('select leasehold.reap_expired()')).toBe('1');
    await one.commit();
    expect([await stateOf(lapsed.jobId), await stateOf(other.jobId)]).toEqual(['ready', 'ready']);
  });

  test('S07 a scheduler says which task failed, and the others go on', async () => {
    const name = await queue();
    await past(name, 3);
    await admin.rows(
      `create function public.refuse() returns trigger language plpgsql
         as $$ begin raise exception 'not this one'; end $$;
       create trigger refuse before delete on leasehold.finished
         for each row when (old.job_id % 3 = 0) execute function public.refuse()`,
    );
    const events: SchedulerEvent[] = [];
    const done: string[] = [];
    const scheduler = new Scheduler({
      connection: url,
      maintenanceMs: 50,
      handlers: { [name]: async (job) => void done.push(job.id) },
      onEvent: (event) => events.push(event),
    });
    await scheduler.start();
    try {
      const job = await due(name);
      await until(() => done.includes(String(job)));
      await until(async () => (await pruned(name)) === '2');
      await until(() => events.some(({ type }) => type === 'maintenance:failed'));
    } finally {
      await scheduler.stop();
      await admin.rows('drop function public.refuse() cascade');
    }
    expect(events).toContainEqual({ type: 'maintenance:failed', tasks: ['finished'] });
  });
});

describe('S22 retention keeps up', () => {
  test('S22 a scheduler removes all that is past, not a batch a minute', async () => {
    const name = await queue();
    await past(name, 12_000);
    await admin.rows(
      `insert into leasehold.dedup (job_id, expires_at, queue_id, dedup_key)
       select -number, clock_timestamp() - interval '1 day', 1, number from generate_series(1, 5000) as number`,
    );
    const scheduler = new Scheduler({
      connection: url,
      maintenanceMs: 50,
      handlers: { [name]: async () => undefined },
    });
    await scheduler.start();
    await until(async () => (await pruned(name)) === '12000');
    await until(async () => (await admin.value('select count(*) from leasehold.dedup')) === '0');
    await scheduler.stop();
    expect(await admin.value('select count(*) from leasehold.job')).toBe('0');
  });

  test('S22 prune passes over a job whose holder was just told its end, and takes it later', async () => {
    const name = await queue();
    await past(name, 2);
    const held = await admin.value('select min(job_id) from leasehold.job');
    await one.begin();
    await one.rows('select from leasehold.job where job_id = $1 for key share', [held]);
    await two.rows(`set lock_timeout = '5s'`);
    expect(await two.value('select leasehold.prune()')).toBe('1');
    await one.commit();
    expect(await two.value('select leasehold.prune()')).toBe('1');
  });

  test('S22 prune does not walk again past what vacuum may not remove yet', async () => {
    const name = await queue();
    await one.begin();
    await one.rows('set transaction isolation level repeatable read');
    await one.rows('select 1 from leasehold.finished');
    await past(name, 10);
    const first = await admin.value('select max(keep_until) from leasehold.finished');
    expect(await two.value('select leasehold.prune(9)')).toBe('9');
    // No further than what is left.
    const begin = `select done_until <= $1 and done_until > '-infinity' from leasehold.upkeep where task = 'finished'`;
    expect(await admin.value(begin, [first])).toBe('t');
    expect(await two.value('select leasehold.prune()')).toBe('1');
    expect(await admin.value(begin, [first])).toBe('f');
    await one.commit();
  });

  test('S22 a look at a job takes as few locks with a retention of a year as with one of a day', async () => {
    const locks = async (keep: string): Promise<number> => {
      const name = await queue(`, p_keep_completed => '${keep}', p_keep_dead => '${keep}'`);
      const [job] = await admin.rows(`select leasehold.enqueue($1, '1') as id`, [name]);
      await one.begin();
      await one.rows('select leasehold.job($1)', [job?.id]);
      const count = await one.value(
        `select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'relation'`,
      );
      await one.rollback();
      return Number(count);
    };
    const year = await locks('1 year');
    expect(year).toBe(await locks('1 day'));
    expect(year).toBeLessThan(50);
  });
});

describe('S30 logical replication', () => {
  test('S30 the whole life of a job, and all maintenance, goes on under a publication of all tables', async () => {
    const session = await Session.open(await createDatabase());
    await session.rows(`set client_min_messages = error`);
    await session.rows('create publication everything for all tables');
    await session.rows('create view public.ended as select * from leasehold.finished');
    const call = (sql: string) => session.value(`select ${sql}`);
    await call(
      `leasehold.create_queue('life', p_keep_completed => '1 microsecond', p_keep_dead => '1 microsecond')`,
    );
    await call(`leasehold.register_worker('00000000-0000-4000-8000-000000000001', array['life'])`);
    await call(
      `leasehold.enqueue_many('life', (select jsonb_agg('{"payload": 1, "dedup_window": "PT0S"}'::jsonb
         || jsonb_build_object('dedup_key', n)) from generate_series(1, 6) as n))`,
    );
    await session.rows(
      `create temporary table held as
       select *, row_number() over (order by job_id) as nth
       from leasehold.lease_jobs(array['life'], '00000000-0000-4000-8000-000000000001', 5,
         p_request_id => gen_random_uuid())`,
    );
    const end = (nth: number, sql: string) =>
      session.value(`select (${sql}) from held where nth = ${nth}`);
    await end(1, `leasehold.heartbeat(job_id, token, p_checkpoint => '1')`);
    expect(await end(1, `(leasehold.complete(job_id, token)).status`)).toBe('completed');
    expect(await end(2, `(leasehold.fail(job_id, token, 'no', '0')).status`)).toBe('failed');
    expect(await end(3, `(leasehold.release(job_id, token)).status`)).toBe('released');
    expect(await end(4, `(leasehold.dead_letter(job_id, token)).status`)).toBe('dead');
    expect(await end(4, `(select leasehold.redrive(array[job_id]))`)).not.toBeNull();
    await session.rows(
      `update leasehold.lease set heartbeat_at = now() - interval '1 hour', expires_at = now() - interval '1 minute'`,
    );
    await session.rows(
      `insert into leasehold.outage values (now() - interval '4 days', now() - interval '3 days')`,
    );
    await call(`leasehold.enqueue('life', '1', p_delay => '1 microsecond')`);
    await session.rows(`update leasehold.worker set heartbeat_at = now() - interval '3 days'`);
    await session.rows(`update leasehold.request set requested_at = now() - interval '1 hour'`);
    expect(await call('failed from leasehold.tick()')).toBe('{}');
    await call('leasehold.cancel(min(job_id)) from leasehold.ready');
    await session.rows(`update leasehold.upkeep set due_at = '-infinity'`);
    expect(await call('failed from leasehold.tick()')).toBe('{}');
    await call(`leasehold.purge_queue('life')`);
    await call(`leasehold.prune()`);
    await call(`leasehold.drop_queue('life')`);
    expect(
      await call(
        `(select count(*) from leasehold.job) + (select count(*) from leasehold.worker)
           + (select count(*) from leasehold.request) + (select count(*) from leasehold.outage)`,
      ),
    ).toBe('0');
  });

  test('S30 leases and ids go on at another server, as the README says', async () => {
    const readme = await readFile(join(packageRoot(), 'README.md'), 'utf8');
    const sql = (name: string): string =>
      new RegExp(`<!-- begin ${name} -->\\s*\`\`\`sql(.*?)\`\`\``, 's').exec(readme)?.[1] ?? name;
    const server = await createServer({ wal_level: 'logical' });
    const green = await Session.open(await emptyCopy(server.url));
    const blue = await Session.open(server.url);
    await blue.rows(sql('publication'));
    // Made by hand, since a subscription to its own server would wait for itself; and with it, there is nothing to copy.
    await blue.rows(`select pg_create_logical_replication_slot('green', 'pgoutput')`);
    await green.rows(
      `create subscription green connection '${server.url}' publication leasehold
       with (create_slot = false, slot_name = 'green', copy_data = false)`,
    );
    await blue.rows(`select leasehold.create_queue('moves')`);
    await blue.rows(
      `select leasehold.enqueue('moves', to_jsonb(n)) from generate_series(1, 3) as n`,
    );
    const held = await lease(blue, 'moves');
    const later = await blue.value(`select leasehold.enqueue('moves', '4')`);
    await until(
      async () => (await green.value('select max(job_id) from leasehold.ready')) === later,
    );
    await green.rows('alter subscription green disable');
    await green.rows('alter subscription green set (slot_name = none)');
    await green.rows('drop subscription green');
    await green.rows(sql('sequences'));

    expect(await green.value(COMPLETE, [held.jobId, held.token])).toBe('completed');
    const fresh = await green.value(`select leasehold.enqueue('moves', '5')`);
    expect(Number(fresh)).toBeGreaterThan(Number(later));
    const leased = await green.column(
      `select job_id from leasehold.lease_jobs(array['moves'], gen_random_uuid(), 10)`,
    );
    expect(leased).toHaveLength(4);
    expect(leased.at(-1)).toBe(fresh);
    await green.rows(`select leasehold.create_queue('another')`);
  });
});

/** Another database of the same server, with schema leasehold and nothing in it. */
async function emptyCopy(url: string): Promise<string> {
  await withClient(url, (client) => client.query('create database green'));
  const green = databaseUrl(url, 'green');
  await withClient(green, async (client) => client.query(await installSql()));
  return green;
}
