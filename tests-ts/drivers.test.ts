import { PrismaPg } from '@prisma/adapter-pg';
import postgres from 'postgres';
import { afterAll, describe, expect, test } from 'vitest';
import { Client, type Queryable } from '../client/index.ts';
import { callAll } from './support/call-all.ts';
import { createDatabase, withClient } from './support/database.ts';

const url = await createDatabase();

type Sql = Pick<postgres.Sql, 'unsafe'>;

/** As the documentation of Queryable has it. */
const overPostgres = (sql: Sql): Queryable => ({
  query: async (text, values) => ({ rows: await sql.unsafe(text, values) }),
});

describe('S39 over postgres.js', () => {
  const sql = postgres(url, { max: 2, onnotice: () => undefined });
  afterAll(() => sql.end());
  const client = new Client(overPostgres(sql));

  test('every method does what it does over pg', () => callAll(overPostgres(sql)));

  test('a payload is the JSON it was, not a text of it', async () => {
    await client.createQueue('json');
    const [first = '', second = ''] = [
      await client.enqueue('json', { order: 1 }, { headers: { tenant: 'a' } }),
      ...(await client.enqueueMany('json', [{ payload: { order: 2 } }])),
    ];
    const kinds = await withClient(url, (pg) =>
      pg.query(
        'select jsonb_typeof(payload) as payload, jsonb_typeof(headers) as headers from leasehold.job where job_id in ($1, $2) order by job_id',
        [first, second],
      ),
    );
    expect(kinds.rows).toEqual([
      { payload: 'object', headers: 'object' },
      { payload: 'object', headers: null },
    ]);
  });

  test('a job exists if and only if the transaction of sql.begin() commits', async () => {
    await client.createQueue('transactions');
    const ids: string[] = [];
    await sql
      .begin(async (transaction) => {
        const inside = client.using(overPostgres(transaction));
        ids.push(await inside.enqueue('transactions', { order: 1 }));
        throw new Error('the order was refused');
      })
      .catch(() => undefined);
    await sql.begin(async (transaction) => {
      const inside = client.using(overPostgres(transaction));
      ids.push(await inside.enqueue('transactions', { order: 2 }));
    });
    await expect(client.job(ids[0] ?? '')).rejects.toMatchObject({ code: 'job_not_found' });
    expect(await client.job(ids[1] ?? '')).toMatchObject({ state: 'ready', payload: { order: 2 } });
  });

  test('what leasehold refuses has its code and its hint', async () => {
    await expect(client.enqueue('no such queue', 1)).rejects.toMatchObject({
      name: 'LeaseholdError',
      code: 'queue_not_found',
      hint: expect.stringContaining('create_queue'),
    });
  });
});

describe('S39 over the adapter that Prisma’s raw queries go through', async () => {
  const adapter = await new PrismaPg({ connectionString: url }).connect();
  afterAll(() => adapter.dispose());
  // $queryRawUnsafe says the same: each parameter a text or null, each row an object.
  const db: Queryable = {
    query: async (sql, args = []) => {
      const argTypes = args.map(() => ({ scalarType: 'string', arity: 'scalar' }) as const);
      const { columnNames, rows } = await adapter.queryRaw({ sql, args, argTypes });
      const named = (row: unknown[]) => columnNames.map((name, index) => [name, row[index]]);
      return { rows: rows.map((row) => Object.fromEntries(named(row))) };
    },
  };

  test('every method does what it does over pg', () => callAll(db));
});

describe('S39 a function that is not there', () => {
  test('is the driver’s error, not a missing schema, once the schema was seen', async () => {
    const bare = await createDatabase();
    await withClient(bare, async (pg) => {
      const client = new Client(pg);
      await client.createQueue('q');
      await pg.query('drop function leasehold.tick()');
      await expect(client.tick()).rejects.toMatchObject({ code: '42883' });
    });
  });
});
