import { onTestFinished } from 'vitest';
import {
  type AnyQueues,
  Scheduler,
  type SchedulerEvent,
  type SchedulerOptions,
} from '../../client/index.ts';

export { TSX_THREADS } from './tsx-threads.ts';

type WhenOver = (end: () => Promise<void>) => void;
type EventType = SchedulerEvent['type'];
type EventOf<T extends EventType> = Extract<SchedulerEvent, { type: T }>;

/** A scheduler in this process that remembers what it told; stopped when the test, or the file, ends. */
export class RecordedScheduler extends Scheduler {
  readonly events: SchedulerEvent[];
  readonly #waiting: Set<() => void>;

  constructor(options: SchedulerOptions<AnyQueues>, whenOver: WhenOver = onTestFinished) {
    const events: SchedulerEvent[] = [];
    const waiting = new Set<() => void>();
    super({
      ...options,
      onEvent: (event) => {
        events.push(event);
        for (const look of [...waiting]) look();
        options.onEvent?.(event);
      },
    });
    this.events = events;
    this.#waiting = waiting;
    whenOver(async () => {
      await this.stop({ graceMs: 0 });
    });
  }

  /** The first event of a type that the condition holds for, there already or to come. */
  event<T extends EventType>(
    type: T,
    holds: (event: EventOf<T>) => boolean = () => true,
  ): Promise<EventOf<T>> {
    return new Promise((resolve) => {
      const look = (): void => {
        const found = this.eventsOf(type).find(holds);
        if (found === undefined) return;
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      look();
    });
  }

  eventsOf<T extends EventType>(type: T): EventOf<T>[] {
    return this.events.filter((event): event is EventOf<T> => event.type === type);
  }

  /** Resolves once the database has confirmed how an attempt of the job ended. */
  settled(jobId: string, attempt = 1): Promise<EventOf<'job:settled'>> {
    return this.event('job:settled', (event) => event.jobId === jobId && event.attempt === attempt);
  }
}

/** The same, started. */
export async function startRecorded(
  options: SchedulerOptions<AnyQueues>,
  whenOver?: WhenOver,
): Promise<RecordedScheduler> {
  const scheduler = new RecordedScheduler(options, whenOver);
  await scheduler.start();
  return scheduler;
}

/** A door that handlers wait before until the test opens it. */
export class Gate {
  readonly #opened: Promise<void>;
  #open: () => void = () => undefined;
  /** How many came to it so far. */
  reached = 0;

  constructor() {
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  pass(): Promise<void> {
    this.reached++;
    return this.#opened;
  }

  open(): void {
    this.#open();
  }
}
