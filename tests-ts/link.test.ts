import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { Client, type Context } from '../client/index.ts';
import { Link, type LinkOptions } from '../client/link.ts';
import { createDatabase } from './support/database.ts';
import { type DatabaseProxy, startProxy } from './support/proxy.ts';
import { RecordedScheduler } from './support/recorded.ts';
import { until } from './support/wait.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
afterAll(() => pool.end());
const client = new Client(pool);

/** Tests that run beside others say themselves when they are over. */
type WhenOver = typeof onTestFinished;

async function proxied(whenOver: WhenOver = onTestFinished): Promise<DatabaseProxy> {
  const proxy = await startProxy(url);
  whenOver(() => proxy.close());
  return proxy;
}

function linkTo(
  connectionString: string,
  options: Partial<LinkOptions> = {},
  whenOver: WhenOver = onTestFinished,
): Link {
  const link = new Link({ connection: { connectionString }, deadlineMs: 5000, ...options });
  whenOver(() => link.close());
  return link;
}

async function pidOf(link: Link): Promise<number> {
  const { rows } = await link.query('select pg_backend_pid() as pid');
  return rows[0].pid;
}

test('a link keeps its connection from call to call', async () => {
  const link = linkTo(url);
  const pid = await pidOf(link);
  expect(await pidOf(link)).toBe(pid);
});

test('a link makes one connection, however many calls come at once', async () => {
  const proxy = await proxied();
  const link = linkTo(proxy.url);
  const pids = await Promise.all(Array.from({ length: 20 }, () => pidOf(link)));
  expect(new Set(pids).size).toBe(1);
  expect(proxy.connected).toBe(1);
});

/** What the server has prepared on the connection of a link. */
async function prepared(link: Link): Promise<string[]> {
  const { rows } = await link.query('select statement from pg_prepared_statements');
  return rows.map(({ statement }) => statement);
}

for (const pipelined of [false, true]) {
  const how = pipelined ? 'that is pipelined' : 'that is not pipelined';

  test(`a link ${how} prepares a statement once a connection`, async () => {
    const link = linkTo(url, { pipelined });
    const twice = await Promise.all([1, 2].map((n) => link.query('select $1::int4 as n', [n])));
    expect(twice.map(({ rows }) => rows[0].n)).toEqual([1, 2]);
    expect(await prepared(link)).toContain('select $1::int4 as n');
  });

  test(`a link ${how} goes on without prepared statements where a pooler loses them`, async () => {
    const link = linkTo(url, { pipelined });
    await link.query('select 1 as n');
    await link.query('deallocate all');
    const several = await Promise.all([1, 2, 3].map(() => link.query('select 1 as n')));
    expect(several.map(({ rows }) => rows)).toEqual([[{ n: 1 }], [{ n: 1 }], [{ n: 1 }]]);
    await link.query('select 2 as n');
    expect(await prepared(link)).toEqual([]);
  });

  test(`a link ${how} goes on where a pooler has its statement prepared already`, async () => {
    const [one, other] = [linkTo(url), linkTo(url, { pipelined })];
    await one.query('select $1::text as t', ['one']);
    const { rows } = await one.query(
      'select name from pg_prepared_statements where statement = $1',
      ['select $1::text as t'],
    );
    await other.connect();
    await other.query(`prepare ${rows[0].name}(text) as select 'another'`);
    const answer = await other.query('select $1::text as t', ['other']);
    expect(answer.rows).toEqual([{ t: 'other' }]);
  });

  test(`a link ${how} tells the error of a statement that cannot be prepared, each time`, async () => {
    const link = linkTo(url, { pipelined });
    const failing = () => link.query('select nothing_of_that_name()');
    const failures = await Promise.allSettled([failing(), failing(), failing()]);
    expect(failures).toMatchObject(
      failures.map(() => ({ status: 'rejected', reason: { code: '42883' } })),
    );
    expect((await link.query('select 1 as n')).rows).toEqual([{ n: 1 }]);
  });
}

test('a link goes on after an error of the server, over the same connection', async () => {
  const link = linkTo(url);
  const pid = await pidOf(link);
  await expect(link.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' });
  expect(await pidOf(link)).toBe(pid);
});

test('a link destroys a connection on which a deadline was missed, and takes another', async () => {
  const proxy = await proxied();
  const link = linkTo(proxy.url, { deadlineMs: 3000 });
  const pid = await pidOf(link);

  const missed = link.query('select pg_sleep(60)');
  // It waits for its turn, and has a deadline of its own.
  const next = pidOf(link);
  await expect(missed).rejects.toMatchObject({ code: 'deadline_exceeded' });
  expect(await next).not.toBe(pid);
  expect(proxy.connected).toBe(2);
});

test('a link never takes the late answer of one call for that of another', async () => {
  const proxy = await proxied();
  const link = linkTo(proxy.url, { deadlineMs: 2000 });
  await pidOf(link);
  const fault = proxy.plant({
    sql: 'first',
    at: 'before-reply',
    deed: { delayMs: 2500 },
  });
  await expect(link.query(`select 'first' as answer`)).rejects.toMatchObject({
    code: 'deadline_exceeded',
  });
  expect(fault.fired).toBe(1);
  const until3500 = performance.now() + 3500;
  while (performance.now() < until3500) {
    const { rows } = await link.query(`select 'second' as answer`);
    expect(rows).toEqual([{ answer: 'second' }]);
    await sleep(50);
  }
});

test('a link never sends a call whose deadline has passed', async () => {
  await pool.query('create table sent (text text)');
  const proxy = await proxied();
  const link = linkTo(proxy.url, { deadlineMs: 300 });
  proxy.blackHole();
  await expect(link.query(`insert into sent values ('missed')`)).rejects.toMatchObject({
    code: 'deadline_exceeded',
  });
  proxy.refuse();
  await until(async () => {
    await link.query(`insert into sent values ('missed')`).catch(() => undefined);
    return proxy.refused >= 4;
  });
  // By now the backoff is longer than a call may take: the next call misses its deadline in it.
  const missed = link.query(`insert into sent values ('missed')`);
  await missed.catch(() => proxy.heal());
  proxy.heal();
  await until(() =>
    link.query(`insert into sent values ('in time')`).then(
      () => true,
      () => false,
    ),
  );
  const { rows } = await pool.query('select distinct text from sent');
  expect(rows).toEqual([{ text: 'in time' }]);
});

test('a link that lost its connection says so, and has another for the next call', async () => {
  const lost: string[] = [];
  const proxy = await proxied();
  const link = linkTo(proxy.url, { onLost: (error) => lost.push(error.message) });
  await pidOf(link);
  proxy.cut('rst');
  await until(() => lost.length === 1);
  proxy.heal();
  await pidOf(link);
  expect(proxy.connected).toBe(2);
});

test('a call under way rejects when its connection is cut', async () => {
  const proxy = await proxied();
  const link = linkTo(proxy.url, { deadlineMs: 60_000 });
  await pidOf(link);
  const call = link.query('select pg_sleep(60)');
  const rejected = expect(call).rejects.toThrow();
  await until(() => proxy.seen('pg_sleep').length === 1);
  proxy.cut('rst');
  await rejected;
});

test('S05 a closed link rejects calls under way and later ones as stopped', async () => {
  const proxy = await proxied();
  const link = linkTo(proxy.url, { deadlineMs: 60_000 });
  await pidOf(link);
  const call = link.query('select pg_sleep(60)');
  const rejected = expect(call).rejects.toMatchObject({ code: 'stopped' });
  await until(() => proxy.seen('pg_sleep').length === 1);
  await link.close();
  await rejected;
  await expect(link.query('select 1')).rejects.toMatchObject({ code: 'stopped' });
  await link.close();
});

/** How long to count: as long as it was, which on a busy machine is longer than was asked for. */
async function secondsFrom(startedAt: number): Promise<number> {
  await sleep(8000);
  return (performance.now() - startedAt) / 1000;
}

/** Connects that a server which ends every connection at once sees, and in how many seconds. */
async function connectsTo(
  whenOver: WhenOver,
  use: (url: string) => void,
): Promise<{ readonly connects: number; readonly seconds: number }> {
  let connects = 0;
  const server = createServer((socket) => {
    connects++;
    socket.on('error', () => undefined);
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  whenOver(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  const startedAt = performance.now();
  use(`postgres://postgres@127.0.0.1:${address.port}/postgres`);
  const seconds = await secondsFrom(startedAt);
  return { connects, seconds };
}

/** Calls without end, each as soon as the one before has failed. */
function pester(link: Link, whenOver: WhenOver): void {
  let over = false;
  whenOver(() => {
    over = true;
  });
  void (async () => {
    while (!over) await link.query('select 1').catch(() => sleep(1));
  })();
}

describe.concurrent('while the server is down', () => {
  test('a link tries to connect at most twice a second, however often it is called', async ({
    onTestFinished: whenOver,
  }) => {
    const { connects, seconds } = await connectsTo(whenOver, (down) =>
      pester(linkTo(down, {}, whenOver), whenOver),
    );
    expect(connects).toBeGreaterThan(2);
    expect(connects).toBeLessThanOrEqual(seconds * 2);
  });

  test('a link with a bound on its backoff keeps trying within it', async ({
    onTestFinished: whenOver,
  }) => {
    const { connects } = await connectsTo(whenOver, (down) =>
      pester(linkTo(down, { maxBackoffMs: 200 }, whenOver), whenOver),
    );
    // Without the bound it would be ten at the most.
    expect(connects).toBeGreaterThan(15);
  });

  test('a scheduler that waits for it tries to connect at most twice a second', async ({
    onTestFinished: whenOver,
  }) => {
    const { connects, seconds } = await connectsTo(whenOver, (down) => {
      const options = { connection: down, handlers: { q: () => 'never' } };
      void new RecordedScheduler(options, whenOver).start();
    });
    expect(connects).toBeGreaterThan(2);
    expect(connects).toBeLessThanOrEqual(seconds * 2);
  });

  test('a scheduler that lost it tries to connect at most twice a second', async ({
    onTestFinished: whenOver,
  }) => {
    await client.createQueue('down');
    await client.enqueue('down', {});
    const proxy = await proxied(whenOver);
    const options = {
      connection: proxy.url,
      handlers: {
        down: async (_: unknown, { signal, checkpoint }: Context) => {
          await checkpoint('one');
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
        },
      },
    };
    const scheduler = new RecordedScheduler(options, whenOver);
    await scheduler.start();
    await scheduler.event('job:started');
    await scheduler.event('listener:connected');
    const cutAt = performance.now();
    proxy.cut();
    const seconds = await secondsFrom(cutAt);
    const { refused } = proxy;
    proxy.heal();
    expect(refused).toBeGreaterThan(2);
    // The first attempt of each of its three connections is made at once, and so is the first that takes a turn. One that
    // is urgent goes before another.
    expect(refused).toBeLessThanOrEqual(3 + 1 + 1 + seconds * 2);
  });
});

describe('an event loop', () => {
  const run = promisify(execFile);
  const script = fileURLToPath(new URL('./support/left-open.ts', import.meta.url));

  test('is kept alive by nothing of a link or scheduler that was closed', async () => {
    await client.createQueue('work');
    await client.createQueue('threads');
    await client.enqueue('threads', {});
    const uses = [
      'an idle link',
      'a busy link',
      'a link that missed a deadline',
      'a scheduler',
      'a scheduler with a thread',
    ];
    const { stdout } = await run(process.execPath, ['--import', 'tsx', script, url, ...uses]);
    expect(JSON.parse(stdout)).toEqual(Object.fromEntries(uses.map((use) => [use, []])));
  });

  test('S05 is kept alive by no hint that came while a scheduler stopped', async () => {
    await client.createQueue('work');
    const use = 'a scheduler that was hinted at cancels while it stopped';
    const { stdout } = await run(process.execPath, ['--import', 'tsx', script, url, use]);
    expect(JSON.parse(stdout)).toEqual({ [use]: [] });
  });

  test('is kept alive by nothing of what was closed before it reached the database', async () => {
    const proxy = await proxied();
    proxy.blackHole();
    const uses = ['a link that cannot connect', 'a scheduler that never reached the database'];
    const { stdout } = await run(process.execPath, ['--import', 'tsx', script, proxy.url, ...uses]);
    expect(JSON.parse(stdout)).toEqual(Object.fromEntries(uses.map((use) => [use, []])));
  });
});
