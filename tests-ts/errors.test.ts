import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fromDriver, isPassing, namesItem } from '../client/errors.ts';
import { LeaseholdError, SQLSTATES } from '../client/index.ts';

/** Names that PL/pgSQL has for SQLSTATEs of PostgreSQL itself. */
const NAMED = {
  invalid_parameter_value: '22023',
  serialization_failure: '40001',
  lock_not_available: '55P03',
} as const;

const sql = join(import.meta.dirname, '..', 'sql');
const files = (await readdir(sql, { recursive: true })).filter((file) => file.endsWith('.sql'));

/** What the bodies raise, by SQLSTATE, with the files that do. */
async function raised(): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const file of files) {
    const text = await readFile(join(sql, file), 'utf8');
    for (const [, name = ''] of text.matchAll(/errcode\s*=\s*'(\w+)'/g)) {
      const state = NAMED[name as keyof typeof NAMED] ?? name;
      found.set(state, [...(found.get(state) ?? []), file]);
    }
  }
  return found;
}

test('SQLSTATES lists every state that sql/ raises, and no other', async () => {
  const states = new Set((await raised()).keys());
  // A job that keeps moving while it is cancelled: PostgreSQL's own state, to be tried again.
  expect(states.delete('40001')).toBe(true);
  // A lease that a transaction holds: PostgreSQL's own state as well.
  expect(states.delete('55P03')).toBe(true);
  expect([...states].sort()).toEqual(Object.values(SQLSTATES).sort());
});

test('every raise in sql/ names a state', async () => {
  for (const file of files) {
    const text = await readFile(join(sql, file), 'utf8');
    const raises = text.match(/^\s*raise exception '/gm)?.length ?? 0;
    const named = text.match(/errcode\s*=/g)?.length ?? 0;
    expect({ file, named }).toEqual({ file, named: raises });
  }
});

test('the comment of a public function names only states of the registry', async () => {
  for (const file of files.filter((each) => each.startsWith('functions'))) {
    const text = await readFile(join(sql, file), 'utf8');
    for (const [, state, code] of text.matchAll(/(LH\d{3}) (\w+)/g)) {
      expect({ file, state, code }).toEqual({
        file,
        state: SQLSTATES[code as keyof typeof SQLSTATES],
        code,
      });
    }
  }
});

const fromServer = (code: string): unknown =>
  Object.assign(new Error(`the server says ${code}`), { code, hint: 'a hint' });

test.each(Object.entries(SQLSTATES))('fromDriver gives %s for %s', (code, sqlstate) => {
  const cause = fromServer(sqlstate);
  expect(fromDriver(cause)).toMatchObject({ code, sqlstate, hint: 'a hint', cause });
});

test.each([
  fromServer('23505'),
  fromServer('ECONNRESET'),
  fromServer('EPIPE'),
  new Error('no code'),
  'a string',
  null,
  undefined,
])('fromDriver passes %o through', (error) => {
  expect(fromDriver(error)).toBe(error);
});

test.each(['ECONNRESET', 'EPIPE', '08006', '40001', '40P01', '53300', '55P03', '57P01', '57P03'])(
  '%s passes by itself',
  (code) => {
    expect(isPassing(fromServer(code))).toBe(true);
    expect(isPassing(fromDriver(fromServer(code)))).toBe(true);
  },
);

test.each(['LH001', 'LH005', 'LH008', '22023', '23505', '28P01', '3D000', '42501', '42883'])(
  '%s does not pass by itself',
  (code) => {
    expect(isPassing(fromDriver(fromServer(code)))).toBe(false);
  },
);

test('a missed deadline and a read-only server pass, a stopped scheduler and a TypeError do not', () => {
  expect(isPassing(new LeaseholdError('deadline_exceeded', 'late'))).toBe(true);
  expect(isPassing(fromDriver(fromServer('25006')))).toBe(true);
  expect(isPassing(fromDriver(fromServer(SQLSTATES.read_only)))).toBe(true);
  expect(isPassing(new LeaseholdError('stopped', 'gone'))).toBe(false);
  expect(isPassing(new TypeError('a mistake'))).toBe(false);
});

test.each(['22023', '22P02', '22021', '54000', '54001', 'LH008'])(
  '%s names the item that was sent',
  (code) => {
    expect(namesItem(fromDriver(fromServer(code)))).toBe(true);
  },
);

test.each([
  '28000',
  '55000',
  '42501',
  '3D000',
  '42883',
  'P0001',
  'XX000',
  '23505',
  '08006',
  'LH007',
])('%s does not name the item that was sent', (code) => {
  expect(namesItem(fromDriver(fromServer(code)))).toBe(false);
});

test('what the server did not say names no item', () => {
  expect(namesItem(new TypeError('a mistake of the driver'))).toBe(false);
  expect(namesItem(new Error('Connection terminated unexpectedly'))).toBe(false);
  expect(namesItem(new LeaseholdError('deadline_exceeded', 'late'))).toBe(false);
});
