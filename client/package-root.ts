import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The package's own folder: one level up from the sources, two from the build. */
export const PACKAGE_ROOT = nearestPackage(import.meta.dirname);

function nearestPackage(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : nearestPackage(dirname(folder));
}
