/**
 * An instant on both clocks of this machine. The monotonic one stands still while the machine
 * sleeps; the wall clock can be set. A span is what the larger of both says (guarantee G10).
 */
export interface Instant {
  readonly mono: number;
  readonly wall: number;
}

export function now(): Instant {
  return { mono: performance.now(), wall: Date.now() };
}

export function after(instant: Instant, ms: number): Instant {
  return { mono: instant.mono + ms, wall: instant.wall + ms };
}

/** Time left until an instant; negative once either clock has passed it. */
export function msUntil(instant: Instant, from: Instant = now()): number {
  return Math.min(instant.mono - from.mono, instant.wall - from.wall);
}

/** By how much the monotonic clock of the machine, which all threads share, is ahead of this thread's. */
const SHARED_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** An instant as another thread of this process can be told it. */
export function toShared({ mono, wall }: Instant): Instant {
  return { mono: mono + SHARED_MS, wall };
}

/** An instant that another thread told. */
export function fromShared({ mono, wall }: Instant): Instant {
  return { mono: mono - SHARED_MS, wall };
}

/** A span somewhere between half and all of it, so that many processes do not act as one. */
export function jittered(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}

/** Exponential delay with full jitter for the n-th try in a row (from 0). */
export function backoffMs(tries: number, baseMs = 100, maxMs = 5000): number {
  return Math.random() * Math.min(maxMs, baseMs * 2 ** Math.min(tries, 20)) + baseMs / 4;
}

/** Longest time a timer can be set to; longer ones fire at once. */
const MAX_TIMER_MS = 2_147_483_647;

/** A timer for any span; none where the span is longer than any timer, as for ever is. */
export function timer(callback: () => void, ms: number): NodeJS.Timeout | undefined {
  return ms > MAX_TIMER_MS ? undefined : setTimeout(callback, ms);
}
