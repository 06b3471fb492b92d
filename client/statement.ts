import { LeaseholdError } from './errors.ts';
import { toJson } from './json.ts';

/** Functions that lease, renew, settle or move jobs refuse any other isolation. */
export const BEGIN = 'begin isolation level read committed';

/*
 * A parameter of a statement, as text that PostgreSQL makes what the function takes: drivers differ in what
 * they make of a JSON, an array or a span. Names are complete, since a session's search_path may begin elsewhere.
 */
export const text = (nth: number): string => `$${nth}::pg_catalog.text`;
export const integer = (nth: number): string => `${text(nth)}::integer`;
export const bigint = (nth: number): string => `${text(nth)}::bigint`;
export const boolean = (nth: number): string => `${text(nth)}::boolean`;
export const interval = (nth: number): string => `${text(nth)}::interval`;
export const instant = (nth: number): string => `${text(nth)}::timestamp with time zone`;
export const uuid = (nth: number): string => `${text(nth)}::pg_catalog.uuid`;
export const jsonb = (nth: number): string => `${text(nth)}::pg_catalog.jsonb`;
export const array = (type: string, nth: number): string => `${text(nth)}::${type}[]`;
/** What {@link documents} says. */
export const documentArray = (nth: number): string =>
  `case when ${text(nth)} is not null then array(
     select pg_catalog.jsonb_array_element(item, 0)
     from pg_catalog.jsonb_array_elements(${jsonb(nth)}) as item
   ) end`;

/** An array as text: the driver's way differs from one to the next. */
export function arrayOf(members: readonly string[]): string {
  // Quoting takes longer than all the rest, and ids and uuids need none.
  const quoted = members.every((member) => PLAIN.test(member)) ? members : members.map(quote);
  return `{${quoted.join()}}`;
}

function quote(member: unknown): string {
  return typeof member === 'string'
    ? `"${member.replace(/[\\"]/g, '\\$&')}"`
    : String(member ?? null);
}

/** What a member of an array may be as it stands: ids and uuids are, "null" and what has a comma are not. */
const PLAIN = /^[0-9a-f-]+$/i;

/** What a call is given; every driver is told text, or null. */
export type Parameter = string | number | boolean | Date | null | undefined;

export function sayable(value: Parameter): string | null {
  if (value === null || value === undefined) return null;
  if (!(value instanceof Date)) return String(value);
  if (Number.isNaN(value.getTime())) {
    throw new LeaseholdError('invalid_argument', 'an instant must be a valid Date');
  }
  return value.toISOString();
}

/** Documents that may be absent, in one: each in an array of its own, which is empty where there is none. */
export function documents(values: readonly unknown[]): string {
  return `[${values.map((value) => (value === undefined ? '[]' : `[${toJson(value)}]`)).join()}]`;
}

/** A span as PostgreSQL reads it. What is no number goes as it is, for SQL to refuse it. */
export function span(milliseconds: number): string;
export function span(milliseconds: number | undefined): string | undefined;
export function span(milliseconds: number | undefined): string | undefined {
  return milliseconds === undefined ? undefined : `${milliseconds} milliseconds`;
}
