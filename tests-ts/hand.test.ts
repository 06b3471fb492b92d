import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Hand } from '../client/hand.ts';
import type { UnparsedJob } from '../client/rows.ts';
import { Running } from '../client/running.ts';
import { Tempo } from '../client/tempo.ts';

const job = (jobId: string): Running =>
  new Running({ jobId, remainingMs: 60_000 } as UnparsedJob, { mono: 0, wall: 0 }, 0, {
    look: () => undefined,
    stopped: () => undefined,
    completed: () => undefined,
  });

describe('the hand', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test('gives its jobs out in the order they came', () => {
    const hand = new Hand(() => undefined);
    const jobs = [job('1'), job('2'), job('3')];
    for (const running of jobs) hand.keep(running);
    expect(hand.next()).toBe(jobs[0]);
    expect(hand.empty()).toEqual(jobs.slice(1));
    expect(hand.next()).toBeUndefined();
  });

  test('is not overdue while each job waits shortly, though it is never empty', () => {
    const overdue = vi.fn();
    const hand = new Hand(overdue);
    hand.keep(job('0'));
    for (let n = 1; n <= 20; n++) {
      vi.advanceTimersByTime(60);
      hand.keep(job(`${n}`));
      hand.next();
    }
    expect(overdue).not.toHaveBeenCalled();
    vi.advanceTimersByTime(99);
    expect(overdue).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(overdue).toHaveBeenCalledOnce();
  });

  test('is not overdue once it was emptied', () => {
    const overdue = vi.fn();
    const hand = new Hand(overdue);
    hand.keep(job('1'));
    hand.empty();
    vi.advanceTimersByTime(1000);
    expect(overdue).not.toHaveBeenCalled();
  });
});

describe('the tempo', () => {
  const tempoOf = (concurrency: number, handlerMs: number): Tempo => {
    const tempo = new Tempo(concurrency);
    // It begins at nothing, so that one slow first call does not count for much.
    for (let call = 0; call < 200; call++) tempo.leaseTook(4);
    tempo.handlerTook(handlerMs);
    return tempo;
  };

  test('runs ahead only where a slot turns over four times during a call', () => {
    expect(new Tempo(100).ahead).toBe(0);
    expect(tempoOf(100, 1000).ahead).toBe(0);
    expect(tempoOf(100, 1.1).ahead).toBe(0);
    expect(tempoOf(100, 0.9).ahead).toBe(3);
  });

  test('runs no further ahead than nine jobs a slot, and not at all with few slots', () => {
    expect(tempoOf(100, 0.001).ahead).toBe(9);
    expect(tempoOf(9, 0.001).ahead).toBe(0);
  });

  test('forgets how short handlers were when none ends', () => {
    const tempo = tempoOf(100, 0.001);
    tempo.handlersSlowed(100);
    expect(tempo.ahead).toBe(0);
  });
});
