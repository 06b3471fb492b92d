import { inspect } from 'node:util';
import { isNativeError } from 'node:util/types';
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

/** Most levels of a result or checkpoint: JSON.stringify and PostgreSQL give up at some thousands more. */
const MAX_DEPTH = 4_000;

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

/** A payload or headers as JSON text. Throws `invalid_argument` for what JSON has no word for, or silently makes null. */
export function payloadJson(value: unknown): string {
  const text = madeJson('payload and headers', value);
  // Looked for only where there is a null, so that most payloads are read once.
  const nulled = text.includes('null') ? nulledIn(value) : undefined;
  if (nulled !== undefined) {
    throw new LeaseholdError(
      'invalid_argument',
      `payload and headers must be JSON, which has no ${nulled}: it would become null`,
    );
  }
  return text;
}

/** What JSON.stringify makes null though it says something; undefined: nothing, as an undefined member does not. */
function nulledIn(value: unknown): string | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : String(value);
  if (typeof value === 'function' || typeof value === 'symbol') return typeof value;
  if (typeof value !== 'object' || value === null) return undefined;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid Date' : undefined;
  // What says itself how it is written is taken at its word.
  if ('toJSON' in value) return undefined;
  if (Array.isArray(value)) {
    for (const member of value) {
      const nulled = nulledIn(member);
      if (nulled !== undefined) return nulled;
    }
    return undefined;
  }
  for (const key in value) {
    const member = (value as Record<string, unknown>)[key];
    // In an array these are null, but an object goes without.
    if (typeof member === 'function' || typeof member === 'symbol') continue;
    const nulled = nulledIn(member);
    if (nulled !== undefined) return nulled;
  }
  return undefined;
}

/**
 * A result or checkpoint as JSON text, checked here because it is sent later, in one batch with
 * others: one that the database refused would hold them all up.
 */
export function toDocument(what: string, value: unknown): JsonText {
  const text = madeJson(what, value);
  if (UNSTORABLE.test(text)) {
    throw new LeaseholdError(
      'invalid_argument',
      `${what} contains a NUL character or half a surrogate pair, which PostgreSQL cannot store`,
    );
  }
  const { bytes, levels } = measure(text);
  if (bytes > MAX_DOCUMENT_BYTES) {
    throw new LeaseholdError(
      'payload_too_large',
      `${what} must be at most ${MAX_DOCUMENT_BYTES} bytes as PostgreSQL writes it, got ${bytes}`,
    );
  }
  if (levels > MAX_DEPTH) {
    throw new LeaseholdError(
      'invalid_argument',
      `${what} must be at most ${MAX_DEPTH} levels deep, got ${levels}`,
    );
  }
  return new JsonText(text);
}

function madeJson(what: string, value: unknown): string {
  try {
    return toJson(value);
  } catch (cause) {
    // A BigInt, a cycle, too many levels, or code of the value's own that throws.
    const why = firstLine(cause instanceof Error ? cause.message : describeError(cause));
    throw new LeaseholdError('invalid_argument', `${what} cannot be made JSON: ${why}`, { cause });
  }
}

/**
 * How deep JSON text is, and its bytes as PostgreSQL writes it, which is what its limit counts: a space
 * more after every comma and colon, and at most an exponent's number of digits more for what has one.
 */
function measure(text: string): { bytes: number; levels: number } {
  let bytes = Buffer.byteLength(text);
  let level = 0;
  let levels = 0;
  if (bytes > MAX_DOCUMENT_BYTES) return { bytes, levels };
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (char === '"') inString = !inString;
    else if (inString) continue;
    else if (char === ',' || char === ':') bytes++;
    else if (char === '[' || char === '{') levels = Math.max(levels, ++level);
    else if (char === ']' || char === '}') level--;
    else if (char === '+' || (char === '-' && text[at - 1] === 'e')) {
      bytes += Number.parseInt(text.slice(at + 1, at + 4), 10);
    }
  }
  return { bytes, levels };
}

/**
 * Why a job is dead whose handler has returned what is not stored: the reason as a line, the size, and
 * what the handler returned, as far as it can be said. Never throws.
 */
export function describeResult(fact: string, error: unknown, returned: unknown): string {
  const why = error instanceof Error ? error.message : describeError(error);
  let size = 'not known, since it is not JSON';
  let shown: string;
  try {
    shown = toJson(returned);
    size = `${Buffer.byteLength(shown)} bytes as JSON`;
  } catch {
    shown = describeValue(returned);
  }
  return toText(`${fact}: ${firstLine(why)}\nsize: ${size}\nresult: ${shown}`);
}

/** Bounded in depth and length, and calls no code of the value's own. */
function describeValue(value: unknown): string {
  const limits = { depth: 3, maxArrayLength: 30, maxStringLength: 500 };
  try {
    return inspect(value, { ...limits, customInspect: false, getters: false, showProxy: true });
  } catch {
    return 'it cannot be described';
  }
}

/** Most characters of a reason's first line. */
const MAX_LINE_CHARS = 500;

function firstLine(text: string): string {
  return (text.split('\n', 1)[0] ?? '').slice(0, MAX_LINE_CHARS);
}

/** Most characters of an error text that are kept; the database cuts there too. */
const MAX_ERROR_CHARS = 16_384;

/** Text of any origin made fit for a text column: cut, without NUL and lone surrogates. */
export function toText(text: string): string {
  return text.slice(0, MAX_ERROR_CHARS).replaceAll('\0', '\uFFFD').toWellFormed();
}

/** Most characters of each error in a chain of causes, and of its members. */
const MAX_CHAIN_CHARS = 4_000;

/** Most errors that are said of a thrown one: its causes, and the members of an AggregateError. */
const MAX_CHAIN = 8;

/** What can be said of a thrown value, whatever it is: with its code, its causes and members. Never throws. */
export function describeError(thrown: unknown): string {
  try {
    if (typeof thrown === 'string') return toText(thrown);
    if (!isError(thrown)) return toText(JSON.stringify(thrown) ?? String(thrown));
    const chain = chainOf(thrown);
    const most = chain.length > 1 ? MAX_CHAIN_CHARS : MAX_ERROR_CHARS;
    return toText(chain.map(([how, error]) => how + errorText(error).slice(0, most)).join('\n'));
  } catch {
    return 'the handler threw something that cannot be described';
  }
}

/** An error of another realm, as Jest has several, is no instance of ours. */
function isError(thrown: unknown): thrown is Error {
  return thrown instanceof Error || isNativeError(thrown);
}

function errorText(error: unknown): string {
  if (!isError(error)) return typeof error === 'string' ? error : describeValue(error);
  const text = String(error.stack || error.message || error.name);
  const { code } = error as { code?: unknown };
  const isSaid = !['string', 'number'].includes(typeof code) || text.includes(String(code));
  if (isSaid) return text;
  const [first = '', ...lines] = text.split('\n');
  return [`${first} (code ${code})`, ...lines].join('\n');
}

/** An error, then what it came from, the nearest first. */
function chainOf(thrown: Error): [how: string, error: unknown][] {
  const chain: [string, unknown][] = [['', thrown]];
  for (let at = 0; at < chain.length && chain.length < MAX_CHAIN; at++) {
    const error = chain[at]?.[1];
    if (!isError(error)) continue;
    const { cause, errors } = error as { cause?: unknown; errors?: unknown };
    const members: unknown[] = Array.isArray(errors) ? errors : [];
    if (cause !== undefined) chain.push(['caused by: ', cause]);
    for (const member of members.slice(0, MAX_CHAIN - chain.length)) {
      chain.push([`one of ${members.length}: `, member]);
    }
  }
  return chain;
}
