import { describe, expect, test } from 'vitest';
import { judge, runScript } from '../scripts/tap.ts';
import { createBareDatabase, withClient } from './support/database.ts';

const url = await createBareDatabase();

async function verdict(sql: string) {
  return withClient(url, async (client) => judge(await runScript(client, sql)));
}

describe('a test script', () => {
  test('passes when all that it planned has passed', async () => {
    expect(await verdict(`select '1..2'; select 'ok 1 - a'; select 'ok 2 - b';`)).toEqual({
      passed: 2,
      failures: [],
    });
  });

  test('fails with what a failed test says', async () => {
    const sql = `select '1..2'; select E'not ok 1 - a\\n# have: 1\\n# want: 2'; select 'ok 2 - b';`;
    expect(await verdict(sql)).toEqual({
      passed: 1,
      failures: ['not ok 1 - a\n# have: 1\n# want: 2'],
    });
  });

  test('fails when it runs fewer tests than it planned', async () => {
    expect(await verdict(`select '1..2'; select 'ok 1 - a';`)).toEqual({
      passed: 1,
      failures: ['planned 2, ran 1 tests'],
    });
  });

  test('fails when it runs more tests than it planned', async () => {
    expect((await verdict(`select '1..1'; select 'ok 1'; select 'ok 2';`)).failures).not.toEqual(
      [],
    );
  });

  test('fails without a plan, and without a test', async () => {
    expect((await verdict(`select 'ok 1 - a';`)).failures).not.toEqual([]);
    expect((await verdict('select 1;')).failures).toEqual(['the file ran no test']);
  });

  test('fails on an error, and keeps what was said before it', async () => {
    expect(await verdict(`select '1..2'; select 'ok 1 - a'; select 1 / 0;`)).toEqual({
      passed: 1,
      failures: ['22012: division by zero\nafter: ok 1 - a'],
    });
  });

  test('tells the line of an error that has one', async () => {
    const { failures } = await verdict(`select '1..1';\nselect\n  nothing;`);
    expect(failures[0]).toContain('line 3: 42703: column "nothing" does not exist');
  });

  test('is not passed by answers that look like a result', async () => {
    const { failures } = await verdict(`select '1..1'; select 'ok'; select 'ok 1 - a', 1;`);
    expect(failures).toEqual(['the file ran no test']);
  });
});
