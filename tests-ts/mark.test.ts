import { beforeEach, describe, expect, test } from 'vitest';
import { createDatabase } from './support/database.ts';
import { Session } from './support/sessions.ts';

const url = await createDatabase();
const admin = await Session.open(url);
const one = await Session.open(url);
const two = await Session.open(url);

let queue = '';
let queues = 0;

const enqueue = (session: Session, priority = 5) =>
  session.value(`select leasehold.enqueue($1, '1', p_priority => $2)`, [queue, priority]);

const take = (session: Session, limit = 10) =>
  session.column('select job_id from leasehold.lease_jobs(array[$1], gen_random_uuid(), $2)', [
    queue,
    limit,
  ]);

/** Moves the mark as a slow look for jobs would. Answers whether it has passed the job. */
const passes = async (jobId: string | null, priority = 5): Promise<boolean> => {
  await two.rows('select leasehold._advance_mark(queue_id) from leasehold.queue where name = $1', [
    queue,
  ]);
  const first = await two.value(
    `select job_ids[$2 + 1]
     from leasehold.mark
     where queue_id = (select queue_id from leasehold.queue where name = $1)`,
    [queue, priority],
  );
  return Number(first) > Number(jobId);
};

const enqueueMany = (session: Session) =>
  session.value(`select (leasehold.enqueue_many($1, '[{"payload": 1}]'))[1]`, [queue]);

const openBlocks = async (): Promise<number> =>
  Number(
    await admin.value(
      `select cardinality(mark.open_blocks)
       from leasehold.mark as mark
       join leasehold.queue as queue on queue.queue_id = mark.queue_id
       where queue.name = $1`,
      [queue],
    ),
  );

/** Uses up ids, so that one that was given away before lies in an older block than those to come. */
const goOn = () =>
  admin.value(
    `select setval('leasehold.job_job_id_seq', nextval('leasehold.job_job_id_seq') + 10000)`,
  );

beforeEach(async () => {
  queue = `marked ${++queues}`;
  await admin.rows('select leasehold.create_queue($1)', [queue]);
});

describe('the mark', () => {
  test('passes jobs that were leased and committed', async () => {
    const job = await enqueue(admin);
    await goOn();
    const next = await enqueue(admin);
    expect(await take(one, 1)).toEqual([job]);
    expect(await passes(job)).toBe(true);
    expect(await passes(next)).toBe(false);
    expect(await take(two)).toEqual([next]);
  });

  test('S26 hides no job of a transaction that has yet to commit as it passes', async () => {
    await one.begin();
    const early = [await enqueue(one), await enqueueMany(one), await enqueue(one, 2)];
    await goOn();
    const job = await enqueue(admin);
    expect(await take(two)).toEqual([job]);
    await goOn();
    expect(await passes(job)).toBe(true);
    expect(await openBlocks()).toBeGreaterThan(0);
    expect(await take(two)).toEqual([]);
    const later = await enqueue(admin);
    await one.commit();
    expect(await take(two, 1)).toEqual([early[2]]);
    expect(await take(two)).toEqual([early[0], early[1], later]);
    // Nothing is left there, and nobody can come.
    await goOn();
    expect(await passes(later)).toBe(true);
    expect(await openBlocks()).toBe(0);
  });

  test('S26 passes no more than a few transactions that have yet to commit', async () => {
    const sessions = await Promise.all(Array.from({ length: 9 }, () => Session.open(url)));
    const jobs: (string | null)[] = [];
    for (const session of sessions) {
      await session.begin();
      jobs.push(await enqueue(session));
      await goOn();
    }
    expect(await passes(jobs[7] ?? null)).toBe(true);
    expect(await passes(jobs[8] ?? null)).toBe(false);
    for (const session of sessions) await session.commit();
    expect(await take(two)).toEqual(jobs);
    await goOn();
    expect(await passes(jobs[8] ?? null)).toBe(true);
    expect(await openBlocks()).toBe(0);
  });

  test('S26 hides no job of a batch whose ids were given before the mark passed them', async () => {
    await two.begin();
    const job = await enqueue(admin);
    expect(await take(two)).toEqual([job]);
    await passes(job);
    // Whoever moves the mark has not committed, so nobody can know how far.
    const batch = await enqueueMany(one);
    await two.commit();
    expect(
      await admin.value('select returned from leasehold.ready where job_id = $1', [batch]),
    ).toBe('t');
    expect(await take(two)).toEqual([batch]);
  });

  test('S26 hides no job of a batch whose transaction has an old snapshot', async () => {
    await one.rows('begin isolation level repeatable read');
    await one.rows('select from leasehold.queue');
    const job = await enqueue(admin);
    expect(await take(two)).toEqual([job]);
    await goOn();
    expect(await passes(job)).toBe(true);
    // What enqueue_many does after it was given an id that the mark has passed meanwhile.
    const first = await one.value(
      'select leasehold._claim_ids(queue_id, array[$2::bigint]) from leasehold.queue where name = $1',
      [queue, job],
    );
    await one.commit();
    expect(Number(first)).toBeGreaterThan(Number(job));
  });

  test('S26 hides no job whose id begins anew', async () => {
    const job = await enqueue(admin);
    await goOn();
    await goOn();
    expect(await take(one)).toEqual([job]);
    expect(await passes(job)).toBe(true);
    const last = await admin.value('select last_value from leasehold.job_job_id_seq');
    await admin.value(`select setval('leasehold.job_job_id_seq', $1)`, [Number(last) - 15_000]);
    const anew = await enqueue(admin);
    expect(await take(two)).toEqual([anew]);

    // The ids may also have grown past the mark before anybody has looked.
    await goOn();
    await goOn();
    expect(await passes(anew)).toBe(true);
    const end = await admin.value('select last_value from leasehold.job_job_id_seq');
    await admin.value(`select setval('leasehold.job_job_id_seq', $1)`, [Number(end) - 15_000]);
    const hidden = await enqueue(admin);
    await admin.value(`select setval('leasehold.job_job_id_seq', $1)`, [end]);
    await admin.rows('select leasehold.prune()');
    expect(await take(two)).toEqual([hidden]);
  });

  test('passes no job whose lease may be rolled back', async () => {
    const jobs = [await enqueue(admin), await enqueue(admin)];
    await goOn();
    const last = await enqueue(admin);
    await one.begin();
    expect(await take(one, 2)).toEqual(jobs);
    expect(await take(two)).toEqual([last]);
    expect(await passes(jobs[0] ?? null)).toBe(false);
    await one.rollback();
    expect(await take(two)).toEqual(jobs);
  });

  test('passes no job that waits', async () => {
    const jobs = [await enqueue(admin, 0), await enqueue(admin, 9)];
    await goOn();
    expect(await take(one, 1)).toEqual([jobs[0]]);
    expect(await passes(jobs[0] ?? null, 0)).toBe(true);
    expect(await passes(jobs[1] ?? null, 9)).toBe(false);
    expect(await take(one)).toEqual([jobs[1]]);
  });

  test('hides no job that comes back, which keeps its place in line', async () => {
    const jobs = [await enqueue(admin), await enqueue(admin)];
    await goOn();
    const held = await one.rows(
      'select job_id, token from leasehold.lease_jobs(array[$1], gen_random_uuid(), 2)',
      [queue],
    );
    const later = await enqueue(admin);
    expect(await passes(jobs[1] ?? null)).toBe(true);
    for (const { job_id, token } of held.toReversed()) {
      await one.rows('select leasehold.release($1, $2)', [job_id, token]);
    }
    expect(await take(two)).toEqual([...jobs, later]);
  });

  test('hides no job that was scheduled', async () => {
    const job = await admin.value(`select leasehold.enqueue($1, '1', p_delay => '1 ms')`, [queue]);
    await goOn();
    expect(await passes(job)).toBe(true);
    await admin.rows('select pg_sleep(0.002), leasehold.promote_due()');
    expect(await take(two)).toEqual([job]);
  });

  test('hides no job whose ids somebody kept from being claimed (hazard K3)', async () => {
    const claim = `leasehold._enqueue_class(), ((select last_value from leasehold.job_job_id_seq) >> 12)::integer`;
    await two.rows(`select pg_advisory_lock(${claim})`);
    await one.begin();
    const early = await enqueue(one);
    await two.rows('select pg_advisory_unlock_all()');
    await goOn();
    const job = await enqueue(admin);
    expect(await take(two)).toEqual([job]);
    expect(await passes(early)).toBe(true);
    await one.commit();
    expect(await take(two)).toEqual([early]);
  });

  test('may be missing: then the line begins with the first job', async () => {
    await admin.rows('delete from leasehold.mark');
    const job = await enqueue(admin);
    expect(await take(two)).toEqual([job]);
  });

  test('never moves back for who looks from further behind', async () => {
    const job = await enqueue(admin);
    expect(await take(one)).toEqual([job]);
    await goOn();
    expect(await passes(job)).toBe(true);
    const mark = 'select job_ids from leasehold.mark order by queue_id desc limit 1';
    const before = await admin.value(mark);
    await two.rows(`select leasehold._advance_mark(max(queue_id)) from leasehold.mark`);
    expect(await admin.value(mark)).toBe(before);
  });

  test('is not moved by a transaction whose snapshot is old', async () => {
    const passed = await enqueue(admin);
    expect(await take(one)).toEqual([passed]);
    await one.rows('begin isolation level repeatable read');
    await one.rows('select from leasehold.queue');
    const job = await enqueue(admin);
    await goOn();
    await enqueue(admin, 9);
    // So often that one of these looks is slow enough for the mark to be moved.
    await one.rows(
      `select leasehold._line(queue.queue_id)
       from leasehold.queue as queue
       cross join generate_series(1, 2000)
       where queue.name = $1`,
      [queue],
    );
    await one.commit();
    expect(await take(two, 1)).toEqual([job]);
  });
});
