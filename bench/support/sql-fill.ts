import type pg from 'pg';

/** Most jobs of one statement. */
const CHUNK = 250_000;

/** Where jobs can be put, and what the functions would have written of them there. */
const POSITIONS = {
  ready: `
    insert into leasehold.ready (
      job_id, queue_id, priority, attempt, releases, failures, losses, returned
    )
    select job_id, queue_id, priority, 0, 0, 0, 0, false
    from written`,
  tomorrow: `
    insert into leasehold.scheduled (
      job_id, queue_id, priority, attempt, releases, failures, losses, run_at
    )
    select job_id, queue_id, priority, 0, 0, 0, 0, enqueued_at + interval '1 day'
    from written`,
  finished: `
    insert into leasehold.finished (
      job_id, queue_id, priority, attempt, releases, failures, losses, outcome,
      leased_at, finished_at, keep_until, token, worker_id
    )
    select
      job_id, queue_id, priority, 1, 0, 0, 0, 'completed',
      enqueued_at, enqueued_at, enqueued_at + interval '1 day',
      md5(job_id::text)::uuid, md5('worker')::uuid
    from written`,
} as const;

/** Puts jobs in place by plain SQL: many times as fast as they would get there by themselves. */
export async function fill(
  client: pg.Client,
  position: keyof typeof POSITIONS,
  queue: string,
  jobs: number,
  priority = 5,
): Promise<void> {
  for (let filled = 0; filled < jobs; filled += CHUNK) {
    await client.query(
      `with written as (
         insert into leasehold.job (enqueued_at, queue_id, priority, payload)
         select clock_timestamp(), queue.queue_id, $3, jsonb_build_object('number', number)
         from leasehold.queue as queue
         cross join generate_series(1, $2::integer) as number
         where queue.name = $1
         returning job_id, enqueued_at, queue_id, priority
       )
       ${POSITIONS[position]}`,
      [queue, Math.min(CHUNK, jobs - filled), priority],
    );
  }
}
