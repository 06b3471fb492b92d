/* The work of one job: compress a file chunk by chunk and chain the chunks' hashes. No database in sight. */
import { pbkdf2Sync } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { brotliCompressSync, constants } from 'node:zlib';

/** The payload of a job. */
export interface FileJob {
  readonly path: string;
  /** Size and time of change when the job was made; a file that has others now is not the same. */
  readonly size: number;
  readonly modifiedMs: number;
  readonly chunkBytes: number;
  /** How often each chunk is hashed: 1, and more where a tree is too small to keep anybody busy. */
  readonly iterations: number;
}

/** How far a file has been worked on: all that another worker needs to go on from there. */
export interface Place {
  readonly chunks: number;
  readonly compressedBytes: number;
  /** Over the compressed chunks so far, each hashed together with the digest before it. */
  readonly digest: string;
}

export const START: Place = { chunks: 0, compressedBytes: 0, digest: '' };

const MAX_CHUNK_BYTES = 256 * 1024;
/** A file is cut into at least so many chunks, so that a small one can be resumed as well. */
const MIN_CHUNKS = 8;

const COMPRESSION = {
  params: {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_LGWIN]: 18,
  },
};

/** A file that is not as it was when its job was made, or cannot be read any more. */
export class FileSkipped extends Error {}

export function chunkBytesOf(size: number): number {
  return Math.max(1, Math.min(MAX_CHUNK_BYTES, Math.ceil(size / MIN_CHUNKS)));
}

export function chunksOf({ size, chunkBytes }: FileJob): number {
  return Math.ceil(size / chunkBytes);
}

/** Compresses and hashes one chunk. Blocks its thread, as such work does. */
export function advance(place: Place, chunk: Uint8Array, iterations: number): Place {
  const compressed = brotliCompressSync(chunk, COMPRESSION);
  return {
    chunks: place.chunks + 1,
    compressedBytes: place.compressedBytes + compressed.length,
    digest: pbkdf2Sync(compressed, place.digest, iterations, 32, 'sha256').toString('hex'),
  };
}

/** Works on a file from a place to its end, and tells the place after every chunk. */
export async function* places(file: FileJob, from: Place = START): AsyncGenerator<Place, void> {
  const handle = await open(file.path).catch(skip);
  try {
    let place = from;
    while (place.chunks < chunksOf(file)) {
      const chunk = await read(handle, file, place.chunks);
      place = advance(place, chunk, file.iterations);
      yield place;
    }
  } finally {
    await handle.close();
  }
}

/** The place at the end of a file. */
export async function finish(file: FileJob, from: Place = START): Promise<Place> {
  let last = from;
  for await (const place of places(file, from)) last = place;
  return last;
}

async function read(handle: FileHandle, file: FileJob, index: number): Promise<Buffer> {
  const start = index * file.chunkBytes;
  const chunk = Buffer.alloc(Math.min(file.chunkBytes, file.size - start));
  const { bytesRead } = await handle.read(chunk, 0, chunk.length, start).catch(skip);
  // Looked at after the read, so that what was read is what the job was made for.
  const { size, mtimeMs } = await handle.stat();
  if (bytesRead < chunk.length || size !== file.size || mtimeMs !== file.modifiedMs) {
    throw new FileSkipped('it changed meanwhile');
  }
  return chunk;
}

function skip(cause: unknown): never {
  const code = cause instanceof Error && 'code' in cause ? cause.code : cause;
  throw new FileSkipped(`it can no longer be read (${code})`, { cause });
}
