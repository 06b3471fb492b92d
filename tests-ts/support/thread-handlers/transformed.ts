/* Says what it sees of a payload that its schema has transformed, and returns what another one transforms again. */
import type { Job } from '../../../client/index.ts';

export interface Due {
  readonly at: Date;
  readonly tags: ReadonlySet<string>;
  readonly bytes: bigint;
}

export default ({ payload: { at, tags, bytes } }: Job<Due>): { bytes: string } => {
  const isWhole = at instanceof Date && tags instanceof Set && typeof bytes === 'bigint';
  return { bytes: isWhole ? `${at.getTime()} ${[...tags]} ${bytes}` : 'something else' };
};
