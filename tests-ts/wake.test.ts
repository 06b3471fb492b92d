import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Client } from '../client/index.ts';
import { createDatabase } from './support/database.ts';
import { until } from './support/wait.ts';

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

  it('tells nobody where nobody dozes', async () => {
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([]);
  });

  it('tells a session that dozes on the queue, until it rises', async () => {
    await new Client(sleeper).doze(['a']);
    await new Client(enqueuer).enqueue('b', 1);
    expect(await announced()).toEqual([]);

    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([expect.stringMatching(/^ready:\d+:\d+$/)]);

    await new Client(sleeper).rise(['a']);
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([]);
  });

  it('tells one bucket of sessions of a job, and all of many', async () => {
    const others = await Promise.all(Array.from({ length: 8 }, () => connected()));
    const buckets = await Promise.all(others.map((other) => new Client(other).doze(['a'])));
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
    const other = await connected();
    await new Client(sleeper).doze(['a', 'b']);
    expect(await new Client(sleeper).watch(['a'])).toBe(true);
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([]);
    await new Client(enqueuer).enqueue('b', 1);
    expect(await announced()).toHaveLength(1);

    // All of its queues or none.
    expect(await new Client(other).watch(['b', 'a'])).toBe(false);
    await new Client(enqueuer).enqueue('b', 1);
    expect(await announced()).toHaveLength(1);

    await new Client(sleeper).unwatch(['a']);
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toHaveLength(1);
    expect(await new Client(other).watch(['b', 'a'])).toBe(true);
    await other.end();
    await new Client(sleeper).rise(['a', 'b']);
  });

  it('tells another session of what was announced to one that rises', async () => {
    const full = await connected();
    const idle = new Client(sleeper);
    await new Client(full).doze(['a']);
    await new Client(enqueuer).enqueue('a', 1);
    await announced();
    const bucket = await idle.doze(['a']);

    await new Client(full).rise(['a']);
    expect(await announced()).toEqual([expect.stringMatching(`^ready:\\d+:${bucket}$`)]);
    await new Client(full).rise(['a']);
    expect(await announced()).toHaveLength(1);

    // Nothing is left to announce.
    await enqueuer.query('truncate leasehold.ready');
    await new Client(full).rise(['a']);
    expect(await announced()).toEqual([]);
    await Promise.all([idle.rise(['a']), full.end()]);
  });

  it('tells nothing of an enqueue that is rolled back (C91)', async () => {
    await new Client(sleeper).doze(['a']);
    await enqueuer.query('begin');
    await new Client(enqueuer).enqueue('a', 1);
    await enqueuer.query('rollback');
    expect(await announced()).toEqual([]);
    await new Client(sleeper).rise(['a']);
  });
});
