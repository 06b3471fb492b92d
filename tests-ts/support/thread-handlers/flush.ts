import type { Context, Job } from '../../../client/index.ts';

/** Saves the checkpoint that its payload names, and returns what it is told of that. */
export default function flush(
  { payload }: Job<{ readonly checkpoint: unknown }>,
  { checkpoint }: Context,
): Promise<string> {
  return checkpoint(payload.checkpoint, { flush: true }).then(
    () => 'saved',
    (error) => error.code,
  );
}
