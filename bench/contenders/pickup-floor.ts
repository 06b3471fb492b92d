import pg from 'pg';
import { type Pickup, Pickups, serve } from '../support/contender.ts';

/** The least that a job must wait for: a commit that notifies, and a commit that takes the job. */
export interface PickupFloor {
  install(url: string): Promise<void>;
  pickup(work: Pickup): Promise<number[]>;
}

/** One row, no lease, no retry, no polling: a lost notification is a lost job. */
serve<PickupFloor>({
  async install(url) {
    const client = await connected(url);
    await client.query(
      'create table floor_job (job_id bigint generated always as identity primary key, payload jsonb)',
    );
    await client.end();
  },

  async pickup(work) {
    const [producer, listener, worker] = (await Promise.all(
      Array.from({ length: 3 }, () => connected(work.url)),
    )) as [pg.Client, pg.Client, pg.Client];
    const pickups = new Pickups();
    listener.on('notification', async () => {
      const { rows } = await worker.query({
        name: 'take',
        text: `delete from floor_job
               where job_id = any (array(
                 select job_id from floor_job order by job_id for update skip locked
               ))
               returning payload`,
      });
      for (const { payload } of rows) pickups.began(payload.number);
    });
    await listener.query('listen floor');
    const latencies = await pickups.measure(work, (payload) =>
      producer.query(
        `with added as (insert into floor_job (payload) values ($1) returning job_id)
         select pg_notify('floor', '') from added`,
        [JSON.stringify(payload)],
      ),
    );
    await Promise.all([producer.end(), listener.end(), worker.end()]);
    return latencies;
  },
});

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}
