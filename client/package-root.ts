import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LeaseholdError } from './errors.ts';

/**
 * The package's own folder: one level up from the sources, two from the build. Looked for when it is needed,
 * since a bundle has none of our files around it, and as CommonJS does not even know where it is.
 */
export function packageRoot(): string {
  for (let folder: string | undefined = import.meta.dirname; folder !== undefined; ) {
    if (nameOf(folder) === 'leasehold') return folder;
    const parent: string = dirname(folder);
    folder = parent === folder ? undefined : parent;
  }
  throw new LeaseholdError('invalid_argument', 'the files of the package leasehold are not there', {
    hint: 'Leave the package out of the bundle, or run "npx leasehold migrate".',
  });
}

/** Name of the package whose root the folder is. */
function nameOf(folder: string): string | undefined {
  try {
    const { name }: { name?: string } = JSON.parse(
      readFileSync(join(folder, 'package.json'), 'utf8'),
    );
    return name;
  } catch {
    return undefined;
  }
}
