import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { Client, KNOWN_SCHEMA_VERSIONS, LeaseholdError, Scheduler } from '../client/index.ts';
import { createBareDatabase, createDatabase, withClient } from './support/database.ts';
import { until } from './support/wait.ts';

const newest = Math.max(...KNOWN_SCHEMA_VERSIONS);

/** A database whose schema says that it is of another version, and whose clients it serves. */
async function databaseOfVersion(version: number, oldestClient = version): Promise<string> {
  const url = await createDatabase();
  await withClient(url, (client) =>
    client.query(
      `create or replace function leasehold.schema_version() returns integer
       language sql immutable return ${version};
       create or replace function leasehold.oldest_client() returns integer
       language sql immutable return ${oldestClient}`,
    ),
  );
  return url;
}

const connectionsTo = (url: string): Promise<number> =>
  withClient(url, async (client) => {
    const { rows } = await client.query<{ connections: number }>(
      `select count(*)::int4 as connections from pg_stat_activity
       where datname = current_database() and application_name = 'leasehold'`,
    );
    return rows[0]?.connections ?? Number.NaN;
  });

const cases: [string, () => Promise<string>, object][] = [
  [
    'without the schema',
    createBareDatabase,
    { code: 'schema_missing', hint: expect.stringContaining('npx leasehold migrate') },
  ],
  [
    'with a schema that has none of the functions',
    async () => {
      const url = await createBareDatabase();
      await withClient(url, (client) => client.query('create schema leasehold'));
      return url;
    },
    { code: 'schema_missing', hint: expect.stringContaining('npx leasehold migrate') },
  ],
  [
    'of an older version',
    () => databaseOfVersion(0),
    {
      code: 'schema_unknown',
      message: `the leasehold schema has version 0, this client knows ${KNOWN_SCHEMA_VERSIONS.join(', ')}`,
      hint: expect.stringContaining('npx leasehold migrate'),
    },
  ],
  [
    'of a newer version that does not serve it',
    () => databaseOfVersion(newest + 1),
    {
      code: 'schema_unknown',
      message: expect.stringContaining(`version ${newest + 1}`),
      hint: expect.stringContaining('Update the leasehold package'),
    },
  ],
];

test.each(cases)('Client refuses a database %s, at every call', async (_, create, refusal) => {
  const pool = new pg.Pool({ connectionString: await create() });
  onTestFinished(() => pool.end());
  const client = new Client(pool);
  for (const call of [
    () => client.checkSchema(),
    () => client.enqueue('q', {}),
    () => client.job('1'),
    () => client.using(pool).tick(),
  ]) {
    await expect(call()).rejects.toMatchObject(refusal);
    await expect(call()).rejects.toBeInstanceOf(LeaseholdError);
  }
});

test.each(cases)(
  'Scheduler.start rejects for a database %s and leaves nothing open',
  async (_, create, refusal) => {
    const url = await create();
    const scheduler = new Scheduler({ connection: url, handlers: { q: () => 'never' } });
    await expect(scheduler.start()).rejects.toMatchObject(refusal);
    await until(async () => (await connectionsTo(url)) === 0);
    await expect(scheduler.stop()).resolves.toEqual({ stuck: [], undelivered: [] });
  },
);

test('S37 Client and Scheduler work with a newer schema that serves them', async () => {
  const url = await databaseOfVersion(newest + 2, newest);
  const pool = new pg.Pool({ connectionString: url });
  onTestFinished(() => pool.end());
  const client = new Client(pool);
  await client.createQueue('q');
  const jobId = await client.enqueue('q', 1);
  await new Promise<void>((resolve) => {
    const scheduler = new Scheduler({
      connection: url,
      handlers: { q: () => 'done' },
      onEvent: ({ type }) => {
        if (type === 'job:settled') void scheduler.stop().then(() => resolve());
      },
    });
    void scheduler.start();
  });
  expect(await client.job(jobId)).toMatchObject({ state: 'completed', result: 'done' });
});

test('Client does not remember a refusal: it works once the database is migrated', async () => {
  const url = await databaseOfVersion(newest + 1);
  const pool = new pg.Pool({ connectionString: url });
  onTestFinished(() => pool.end());
  const client = new Client(pool);
  await expect(client.createQueue('q')).rejects.toMatchObject({ code: 'schema_unknown' });

  await pool.query(
    `create or replace function leasehold.schema_version() returns integer
     language sql immutable return ${newest}`,
  );
  await client.createQueue('q');
  expect(await client.enqueue('q', {})).toMatch(/^\d+$/);
});

test('Client asks for the version once, however many calls it makes', async () => {
  const pool = new pg.Pool({ connectionString: await createDatabase() });
  onTestFinished(() => pool.end());
  const asked: string[] = [];
  const client = new Client({
    query: (text, values) => {
      asked.push(text);
      return pool.query(text, values);
    },
  });
  await client.createQueue('q');
  await Promise.all([client.enqueue('q', 1), client.enqueue('q', 2), client.using(pool).tick()]);
  expect(asked.filter((text) => text.includes('schema_version'))).toHaveLength(1);
});

test('S37 a newer schema that could not be asked whom it serves is not taken for an unknown one', async () => {
  const lost = new Error('Connection terminated unexpectedly');
  const client = new Client({
    query: async (text) => {
      if (text.includes('oldest_client')) throw lost;
      return { rows: [{ version: newest + 1 }] };
    },
  });
  await expect(client.checkSchema()).rejects.toBe(lost);
});
