import { describe, expect } from 'vitest';
import type { Behaviour } from '../support/behaviours.ts';
import { scenario } from '../support/scenario.ts';

/** What a job does, and how many runs that takes when nothing is lost and nothing is doubled. */
const WORK: Record<string, { behaviour: Behaviour; runs: number; state: string }> = {
  returns: { behaviour: { do: 'return' }, runs: 1, state: 'completed' },
  resumes: {
    behaviour: { do: 'checkpoints', steps: 2, stepMs: 50 },
    runs: 1,
    state: 'completed',
  },
  fails: {
    behaviour: {
      do: 'by-attempt',
      attempts: [{ do: 'fail', retryInMs: 0 }, { do: 'return' }],
    },
    runs: 2,
    state: 'completed',
  },
  releases: {
    behaviour: { do: 'by-attempt', attempts: [{ do: 'release' }, { do: 'return' }] },
    runs: 2,
    state: 'completed',
  },
  'gives up': { behaviour: { do: 'dead-letter' }, runs: 1, state: 'dead' },
};

const STATEMENTS = {
  lease_jobs: 'leasehold.lease_jobs(',
  heartbeat_many: 'leasehold.heartbeat_many(',
  complete_many: 'leasehold.complete_many(',
  fail_many: 'leasehold.fail_many(',
  release_many: 'leasehold.release_many(',
  dead_letter_many: 'leasehold.dead_letter_many(',
} as const;

describe.concurrent('cuts', () => {
  for (const [name, sql] of Object.entries(STATEMENTS)) {
    scenario(
      `${name} loses and doubles no job, wherever its connection is cut`,
      { timeout: 240_000 },
      async ({ s }) => {
        const proxy = await s.proxy();
        const worker = await s.worker({
          url: proxy.url,
          options: { leaseMs: 60_000, callTimeoutMs: 2000, pollMs: 200 },
        });
        for (const at of ['before-query', 'before-reply', 'before-ready'] as const) {
          for (const deed of ['rst', 'black-hole'] as const) {
            const cut = proxy.plant({ sql, at, deed });
            const jobs = await Promise.all(
              Object.values(WORK).map(async (work) => ({
                ...work,
                jobId: await s.client.enqueue('work', work.behaviour),
              })),
            );
            await cut.struck;
            for (const { jobId, state, runs, behaviour } of jobs) {
              await worker.event(
                'job:settled',
                (event) => event.jobId === jobId && event.status.endsWith(state),
              );
              const job = await s.client.job(jobId);
              const failures = behaviour === WORK.fails?.behaviour ? 1 : 0;
              expect(job, `${at} ${deed}`).toMatchObject({ state, losses: 0, failures });
              expect(await s.invocations(jobId), `${at} ${deed}`).toHaveLength(runs);
            }
          }
        }
        expect(worker.events('outcome:refused')).toEqual([]);
        expect(worker.events('job:lost')).toEqual([]);
      },
    );
  }
});
