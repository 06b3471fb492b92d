import { type AddOne, filledPool, measureAdding, serve } from '../support/contender.ts';

/** The least that a job in two tables costs its producer: the rows, in a transaction of their own. */
export interface EnqueueFloor {
  addOne(work: AddOne): Promise<number>;
}

/** Nothing is checked, nobody is told, and no queue is looked up by its name. */
serve<EnqueueFloor>({
  async addOne(work) {
    const pool = await filledPool(work);
    const seconds = await measureAdding(work, (payload) =>
      pool.query(
        `with written as (
           insert into leasehold.job (enqueued_at, queue_id, priority, payload)
           values (clock_timestamp(), 1, 5, $1)
           returning job_id
         )
         insert into leasehold.ready (
           job_id, queue_id, attempt, releases, failures, losses, priority, returned
         )
         select written.job_id, 1, 0, 0, 0, 0, 5, false from written
         returning job_id`,
        [JSON.stringify(payload)],
      ),
    );
    await pool.end();
    return seconds;
  },
});
