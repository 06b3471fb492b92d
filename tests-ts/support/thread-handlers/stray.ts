/* Handlers that leave something behind, and one that runs beside what was left behind. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from '../../../client/index.ts';

export type Stray = 'throw' | 'reject' | 'exit' | 'own' | 'nobody' | 'work';

let strayed = false;

export default async function stray({ payload, attempt }: Job<Stray>): Promise<string> {
  switch (payload) {
    case 'throw':
      setTimeout(() => {
        strayed = true;
        throw new Error('left behind');
      }, 1);
      return 'left something behind';
    case 'reject':
      void sleep(1).then(() => {
        strayed = true;
        throw new Error('left behind');
      });
      return 'left something behind';
    case 'exit':
      setTimeout(() => process.exit(1), 1);
      return 'left something behind';
    case 'own':
      setTimeout(() => {
        throw new Error('its own');
      }, 1);
      await sleep(3_600_000);
      return 'never';
    case 'nobody':
      // Node does not say on whose behalf a microtask runs.
      queueMicrotask(() => {
        throw new Error('of nobody knows whom');
      });
      await sleep(3_600_000);
      return 'never';
    case 'work':
      // What the job before has left behind comes up in the meantime, unless it has ended the thread.
      while (!strayed && attempt === 1) await sleep(1);
      await sleep(1);
      return 'worked';
  }
}
