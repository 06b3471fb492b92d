import type { Job } from '../../../client/index.ts';

export default ({ payload }: Job): unknown => payload;
