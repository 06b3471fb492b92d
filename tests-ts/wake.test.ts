import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client } from '../client/index.ts';
import { createDatabase } from './support/database.ts';
import { until } from './support/wait.ts';
import { setWaiting } from './support/waiting.ts';

describe('waking', () => {
  const database = createDatabase();
  let sleeper: pg.Client;
  let enqueuer: pg.Client;
  let heard: string[];

  beforeAll(async () => {
    const connectionString = await database;
    sleeper = new pg.Client({ connectionString });
    enqueuer = new pg.Client({ connectionString });
    await Promise.all([sleeper.connect(), enqueuer.connect()]);
    sleeper.on('notification', ({ payload }) => heard.push(payload ?? ''));
    heard = [];
    await sleeper.query('listen leasehold');
    await new Client(enqueuer).createQueue('a');
    await new Client(enqueuer).createQueue('b');
  });
  afterAll(() => Promise.all([sleeper.end(), enqueuer.end()]));

  async function connected(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: await database });
    await client.connect();
    return client;
  }

  /** All that was announced up to now: notifications come in the order of their commits. */
  async function announced(): Promise<string[]> {
    await enqueuer.query("notify leasehold, 'mark'");
    await until(() => heard.includes('mark'));
    return heard.splice(0).filter((payload) => payload !== 'mark');
  }

  it('tells nobody if nobody waits', async () => {
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([]);
  });

  it('tells a session that waits for the queue, until it does not any more', async () => {
    await setWaiting(sleeper, ['a'], 'told');
    await new Client(enqueuer).enqueue('b', 1);
    expect(await announced()).toEqual([]);

    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([expect.stringMatching(/^ready:\d+:\d+$/)]);

    await setWaiting(sleeper, ['a'], 'off');
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([]);
  });

  it('tells one bucket of sessions of a job, and all of many', async () => {
    const others = await Promise.all(Array.from({ length: 8 }, () => connected()));
    const buckets = await Promise.all(others.map((other) => setWaiting(other, ['a'], 'told')));
    expect(new Set(buckets).size).toBeGreaterThan(1);

    const told = new Set<string>();
    await until(async () => {
      await new Client(enqueuer).enqueue('a', 1);
      const [one, ...more] = await announced();
      expect(more).toEqual([]);
      told.add(one?.split(':')[2] ?? '');
      return told.size === new Set(buckets).size;
    });
    expect([...told].map(Number).sort()).toEqual([...new Set(buckets)].sort());

    await new Client(enqueuer).enqueueMany(
      'a',
      Array.from({ length: 100 }, () => ({ payload: 1 })),
    );
    expect(await announced()).toEqual([expect.stringMatching(/^ready:\d+$/)]);
    await Promise.all(others.map((other) => other.end()));
  });

  it('tells nobody while somebody watches, and of one watcher at most', async () => {
    const [other, third] = await Promise.all([connected(), connected()]);
    await setWaiting(third, ['a'], 'told');
    expect(await setWaiting(sleeper, ['a'], 'watching')).not.toBeNull();
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([]);
    expect(await setWaiting(other, ['a'], 'watching')).toBeNull();

    await setWaiting(sleeper, ['a'], 'told');
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toHaveLength(1);
    expect(await setWaiting(other, ['a'], 'watching')).not.toBeNull();
    await Promise.all([other.end(), third.end()]);
    await setWaiting(sleeper, ['a'], 'off');
  });

  it('tells a session of each of its queues and of no other, and watches them the same way', async () => {
    const other = await connected();
    await new Client(enqueuer).createQueue('c');
    await setWaiting(sleeper, ['a', 'b'], 'told');
    for (const queue of ['a', 'b', 'c']) {
      await new Client(enqueuer).enqueue(queue, 1);
      expect(await announced()).toHaveLength(queue === 'c' ? 0 : 1);
    }

    // Who watches both looks for the jobs of both, whoever waits for one of them.
    await setWaiting(other, ['b', 'a'], 'watching');
    await setWaiting(sleeper, ['a'], 'told');
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([]);
    await setWaiting(other, ['b', 'a'], 'off');
    await announced();
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toHaveLength(1);
    await setWaiting(sleeper, ['a'], 'off');
    await other.end();
  });

  it('tells another session of what was announced to one that does not wait any more', async () => {
    const full = await connected();
    await setWaiting(full, ['a'], 'told');
    await new Client(enqueuer).enqueue('a', 1);
    await announced();
    const bucket = await setWaiting(sleeper, ['a'], 'told');

    await setWaiting(full, ['a'], 'off');
    expect(await announced()).toEqual([expect.stringMatching(`^ready:\\d+:${bucket}$`)]);
    await setWaiting(full, ['a'], 'off');
    expect(await announced()).toHaveLength(1);

    // Nothing is left to announce.
    await enqueuer.query('truncate leasehold.ready');
    await setWaiting(full, ['a'], 'off');
    expect(await announced()).toEqual([]);
    await setWaiting(sleeper, ['a'], 'off');
    await full.end();
  });

  it('tells nothing of an enqueue that is rolled back (C91)', async () => {
    await setWaiting(sleeper, ['a'], 'told');
    await enqueuer.query('begin');
    await new Client(enqueuer).enqueue('a', 1);
    await enqueuer.query('rollback');
    expect(await announced()).toEqual([]);
    await setWaiting(sleeper, ['a'], 'off');
  });
});
