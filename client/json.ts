import { LeaseholdError } from './errors.ts';

/** What JSON can say. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json };

/** Largest result or checkpoint, in bytes of UTF-8; the SQL functions refuse more. */
export const MAX_DOCUMENT_BYTES = 1_048_576;

/** An escape that JSON allows and PostgreSQL's jsonb does not: NUL, or half of a surrogate pair. */
const UNSTORABLE = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/;

/** A value that is JSON text already, checked by {@link toDocument}: it is not made text twice. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** A value as JSON text; undefined and what JSON leaves out become null. */
export function toJson(value: unknown): string {
  return value instanceof JsonText ? value.text : (JSON.stringify(value) ?? 'null');
}

/**
 * A result or checkpoint as JSON text, checked here because it is sent later, in one batch with
 * others: one that the database refused would hold them all up.
 */
export function toDocument(what: string, value: unknown): JsonText {
  const text = toJson(value);
  if (UNSTORABLE.test(text)) {
    throw new LeaseholdError(
      'invalid_argument',
      `${what} contains a NUL character or half a surrogate pair, which PostgreSQL cannot store`,
    );
  }
  const bytes = storedBytes(text);
  if (bytes > MAX_DOCUMENT_BYTES) {
    throw new LeaseholdError(
      'payload_too_large',
      `${what} must be at most ${MAX_DOCUMENT_BYTES} bytes as PostgreSQL writes it, got ${bytes}`,
    );
  }
  return new JsonText(text);
}

/**
 * Bytes of JSON text as PostgreSQL writes it, which is what its limit counts: a space more after
 * every comma and colon, and at most an exponent's number of digits more for what has one.
 */
function storedBytes(text: string): number {
  let bytes = Buffer.byteLength(text);
  if (bytes > MAX_DOCUMENT_BYTES) return bytes;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (char === '"') inString = !inString;
    else if (inString) continue;
    else if (char === ',' || char === ':') bytes++;
    else if (char === '+' || (char === '-' && text[at - 1] === 'e')) {
      bytes += Number.parseInt(text.slice(at + 1, at + 4), 10);
    }
  }
  return bytes;
}

/** Most characters of an error text that are kept; the database cuts there too. */
const MAX_ERROR_CHARS = 16_384;

/** Text of any origin made fit for a text column: cut, without NUL and lone surrogates. */
export function toText(text: string): string {
  return text.slice(0, MAX_ERROR_CHARS).replaceAll('\0', '\uFFFD').toWellFormed();
}

/** What can be said of a thrown value, whatever it is. Never throws. */
export function describeError(thrown: unknown): string {
  try {
    if (thrown instanceof Error)
      return toText(String(thrown.stack || thrown.message || thrown.name));
    if (typeof thrown === 'string') return toText(thrown);
    return toText(JSON.stringify(thrown) ?? String(thrown));
  } catch {
    return 'the handler threw something that cannot be described';
  }
}
