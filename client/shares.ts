/** How many jobs of some queues may be held at once. */
export interface Limit {
  readonly queues: readonly string[];
  readonly max: number;
}

/** Jobs that count against a limit. */
interface Count {
  readonly max: number;
  /** Leased, until their outcomes are delivered. */
  held: number;
  /** Asked for by calls that are under way. */
  asked: number;
}

/** Queues that are leased from together, since the same limits bound them. */
export class Share {
  readonly queues: readonly string[];
  readonly #counts: readonly Count[];

  constructor(queues: readonly string[], counts: readonly Count[]) {
    this.queues = queues;
    this.#counts = counts;
  }

  /** How many more jobs of these queues may be asked for, whatever slots there are. */
  get room(): number {
    return this.#counts.reduce(
      (room, { max, held, asked }) => Math.min(room, max - held - asked),
      Infinity,
    );
  }

  asks(jobs: number): void {
    for (const count of this.#counts) count.asked += jobs;
  }

  answered(jobs: number): void {
    for (const count of this.#counts) count.asked -= jobs;
  }

  begins(): void {
    for (const count of this.#counts) count.held++;
  }

  /** Returns whether there was no room before. */
  ends(): boolean {
    const wasFull = this.room <= 0;
    for (const count of this.#counts) count.held--;
    return wasFull;
  }
}

/** Every queue in one share. Without limits that is one share for all. */
export function sharesOf(queues: readonly string[], limits: readonly Limit[]): Share[] {
  const counts = limits.map((limit) => ({ ...limit, held: 0, asked: 0 }));
  const together = new Map<string, string[]>();
  for (const queue of queues) {
    const bounds = counts.map((count) => count.queues.includes(queue)).join();
    together.set(bounds, [...(together.get(bounds) ?? []), queue]);
  }
  return [...together.values()].map(
    (of) =>
      new Share(
        of,
        counts.filter((count) => count.queues.includes(of[0] ?? '')),
      ),
  );
}
