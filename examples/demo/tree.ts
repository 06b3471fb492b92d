/* Which files of a folder become jobs. */
import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { packageRoot } from '../../client/package-root.ts';
import { SERVER_FOLDER } from './database.ts';

export interface File {
  readonly path: string;
  readonly size: number;
  readonly modifiedMs: number;
}

export interface Tree {
  readonly files: readonly File[];
  /** Files and folders that may not be read. */
  readonly unreadable: readonly string[];
}

/** A folder with more is no demonstration. */
const MAX_FILES = 100_000;

/** The node_modules of the current folder, or those that this package or its dependencies are in. */
export async function defaultFolder(): Promise<string> {
  const parent = dirname(packageRoot());
  const candidates = ['node_modules', join(packageRoot(), 'node_modules')];
  for (const folder of [...candidates, ...(basename(parent) === 'node_modules' ? [parent] : [])]) {
    const found = await stat(folder).catch(() => undefined);
    if (found?.isDirectory()) return folder;
  }
  throw new Error('there is no folder node_modules here: name a folder with files to work on');
}

/** All regular files of a folder and of those below it, the largest first. Links are not followed. */
export async function readTree(folder: string): Promise<Tree> {
  const files: File[] = [];
  const unreadable: string[] = [];
  const folders = [folder];
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    const entries = await readdir(next, { withFileTypes: true }).catch((error: unknown) => {
      if (next === folder) throw error;
      unreadable.push(next ?? '');
      return [];
    });
    for (const entry of entries) {
      const path = join(next, entry.name);
      if (entry.isDirectory()) {
        // The database would change while it is worked on, by the very work.
        if (path !== SERVER_FOLDER) folders.push(path);
      } else if (entry.isFile()) {
        if (files.length === MAX_FILES) {
          throw new Error(`${folder} has more than ${MAX_FILES} files: name a smaller folder`);
        }
        try {
          await access(path, constants.R_OK);
          const { size, mtimeMs } = await stat(path);
          files.push({ path, size, modifiedMs: mtimeMs });
        } catch {
          unreadable.push(path);
        }
      }
    }
  }
  files.sort((a, b) => b.size - a.size || (a.path < b.path ? -1 : 1));
  return { files, unreadable };
}

/** One file is not to be more than this part of all the work, where there are enough others. */
const MAX_PART = 1 / 24;

/**
 * Chooses up to `count` files with at most `bytes` in all, out of files that are sorted by size: an even
 * sample that begins with as large a file as fits.
 */
export function sample(files: readonly File[], count: number, bytes: number): readonly File[] {
  const modest = files.filter(({ size }) => size <= bytes * MAX_PART);
  const pool = modest.length >= Math.min(count, files.length) ? modest : files;
  let [from, to] = [0, pool.length];
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    if (bytesOf(evenly(pool.slice(middle), count)) <= bytes) to = middle;
    else from = middle + 1;
  }
  return evenly(pool.slice(from), count);
}

export function bytesOf(files: readonly File[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

function evenly(files: readonly File[], count: number): readonly File[] {
  if (files.length <= count) return files;
  return Array.from(
    { length: count },
    (_, i) => files[Math.floor((i * files.length) / count)] as File,
  );
}
