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
    expect(await announced()).toEqual([expect.stringMatching(/^ready:\d+$/)]);

    await new Client(sleeper).rise(['a']);
    await new Client(enqueuer).enqueue('a', 1);
    expect(await announced()).toEqual([]);
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
