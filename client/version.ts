import { readFileSync } from 'node:fs';

/** The version of this package. Its package.json lies above client/, and above dist/client/. */
export const VERSION = ['../package.json', '../../package.json']
  .map((path) => {
    try {
      return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as {
        version: string;
      };
    } catch {
      return undefined;
    }
  })
  .find((found) => found !== undefined)?.version;
