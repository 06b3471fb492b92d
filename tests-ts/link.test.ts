import { afterAll, describe, expect, it, vi } from 'vitest';
import { Link } from '../client/link.ts';
import { createDatabase } from './support/database.ts';
import { startProxy } from './support/proxy.ts';

describe('a link', async () => {
  const proxy = await startProxy(await createDatabase());
  afterAll(() => proxy.close());

  it('does not send a call any more whose deadline passed before there was a connection', async () => {
    // Chance would make some of the pauses between attempts shorter than the deadline.
    const random = vi.spyOn(Math, 'random').mockReturnValue(0.999);
    const link = new Link({ connection: { connectionString: proxy.url }, deadlineMs: 1_000 });
    try {
      proxy.refuse();
      // Every failure makes the pause before the next attempt longer.
      for (let failures = 0; failures < 5; failures++) {
        await expect(link.query('select 1')).rejects.toThrow(/ECONNRESET|terminated/);
      }
      await expect(link.query(`select 'too late'`)).rejects.toMatchObject({
        code: 'deadline_exceeded',
      });
      proxy.heal();

      const ask = () => link.query(`select 'in time' as answer`).catch(() => undefined);
      let answer = await ask();
      while (answer === undefined) answer = await ask();
      expect(answer.rows).toEqual([{ answer: 'in time' }]);
      expect(proxy.seen('too late')).toEqual([]);
    } finally {
      random.mockRestore();
      await link.close();
    }
  });
});
