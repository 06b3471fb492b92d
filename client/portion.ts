import { LeaseholdError, sqlstateOf } from './errors.ts';

/** A statement timeout, and no memory for the statement. */
const TOO_LARGE_STATES: readonly string[] = ['57014', '53200'];

/** Whether less might have got through: the call missed its deadline, or the server gave it up. */
export function mayBeTooLarge(error: unknown): boolean {
  if (error instanceof LeaseholdError && error.code === 'deadline_exceeded') return true;
  return TOO_LARGE_STATES.includes(sqlstateOf(error) ?? '');
}

/**
 * How much one call may carry, of items or bytes. Half of what was sent if that may have been too large, until
 * something gets through; then twice as much with each call that is answered.
 */
export class Portion {
  readonly #most: number;
  #size: number;

  constructor(most: number) {
    this.#most = most;
    this.#size = most;
  }

  get size(): number {
    return this.#size;
  }

  answered(): void {
    this.#size = Math.min(this.#size * 2, this.#most);
  }

  /** Not every error says that the call was too large. */
  failed(error: unknown, sent: number): void {
    if (!mayBeTooLarge(error)) return;
    this.#size = Math.max(1, Math.floor(Math.min(this.#size, sent) / 2));
  }

  /** The first items that fit: `most` of them, and one at least. */
  of<T>(items: readonly T[], most: number, weigh: (item: T) => number): T[] {
    let weight = 0;
    let count = 0;
    for (const item of items) {
      weight += weigh(item);
      if (count > 0 && (weight > this.#size || count >= most)) break;
      count++;
    }
    return items.slice(0, count);
  }
}

/** What a text costs in a call, about: the driver doubles every quote and backslash in it. */
export function weightOf(text: string | undefined): number {
  return ITEM_BYTES + 2 * (text?.length ?? 0);
}

/** An id, a token, and what is between them. */
const ITEM_BYTES = 64;
