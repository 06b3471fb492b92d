/* Saves checkpoints that cannot be stored, one without a look at what becomes of it; returns what the other said. */
import { setImmediate as turn } from 'node:timers/promises';
import type { Context, Job } from '../../../client/index.ts';

export default async (_: Job, context: Context): Promise<unknown> => {
  void context.checkpoint(1n);
  // An unhandled rejection is told of when the turn has ended.
  await turn();
  await turn();
  return context.checkpoint(2n).then(
    () => 'saved',
    ({ code }: { code: string }) => ({ refused: code }),
  );
};
