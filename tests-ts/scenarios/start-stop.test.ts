import pg from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import { Client } from '../../client/index.ts';
import { createDatabase } from '../support/database.ts';
import { RecordedScheduler, startRecorded } from '../support/recorded.ts';

const url = await createDatabase();
const pool = new pg.Pool({ connectionString: url });
afterAll(() => pool.end());
const client = new Client(pool);
let queues = 0;

async function createQueue(settings = {}): Promise<string> {
  const queue = `queue ${++queues}`;
  await client.createQueue(queue, settings);
  return queue;
}

describe('S12 a queue that is missing', () => {
  test('S12 a queue that is dropped does not keep a scheduler from the others', async () => {
    const [kept, dropped] = [await createQueue(), await createQueue()];
    const options = {
      connection: url,
      pollMs: 50,
      leaseMs: 3000,
      handlers: { [dropped]: () => 'done', [kept]: () => 'done' },
    };
    const scheduler = await startRecorded(options);
    await client.dropQueue(dropped);
    await scheduler.settled(await client.enqueue(kept, {}));
    await scheduler.event('queue:missing', ({ queue }) => queue === dropped);
    await scheduler.settled(await client.enqueue(kept, {}));

    await client.createQueue(dropped);
    await scheduler.event('queue:found', ({ queue }) => queue === dropped);
    await scheduler.settled(await client.enqueue(dropped, {}));
    expect(scheduler.eventsOf('queue:missing')).toHaveLength(1);
    expect(scheduler.eventsOf('queue:found')).toHaveLength(1);
    expect(scheduler.eventsOf('call:failed')).toEqual([]);
  });

  test('S12 a scheduler starts though a queue is missing, says so once, and serves it once it is there', async () => {
    const kept = await createQueue();
    const missing = `${kept} of tomorrow`;
    const scheduler = new RecordedScheduler({
      connection: url,
      pollMs: 50,
      leaseMs: 3000,
      handlers: { [missing]: () => 'done', [kept]: () => 'done' },
    });
    await scheduler.start();
    expect(scheduler.eventsOf('queue:missing')).toEqual([
      { type: 'queue:missing', queue: missing },
    ]);
    await scheduler.settled(await client.enqueue(kept, {}));
    await client.createQueue(missing);
    await scheduler.settled(await client.enqueue(missing, {}));
    await scheduler.event('queue:found', ({ queue }) => queue === missing);
    expect(scheduler.eventsOf('queue:missing')).toHaveLength(1);
  });

  test('S12 a scheduler whose only queue is dropped says so once, and goes on once it is back', async () => {
    const queue = await createQueue();
    const scheduler = await startRecorded({
      connection: url,
      pollMs: 50,
      handlers: { [queue]: () => 'done' },
    });
    await client.dropQueue(queue);
    await scheduler.event('queue:missing');
    await client.createQueue(queue);
    await scheduler.settled(await client.enqueue(queue, {}));
    await scheduler.event('queue:found');
    expect(scheduler.eventsOf('queue:missing')).toHaveLength(1);
    expect(scheduler.eventsOf('call:failed')).toEqual([]);
  });
});
