/* A worker process for tests: a scheduler as worker-process.ts describes it, reported line by line. */
import { writeSync } from 'node:fs';
import { Scheduler, type SchedulerEvent, type SchedulerOptions } from '../../client/index.ts';
import behave, { type Behaviour, closeRecorder, type Done, onReport } from './behaviours.ts';
import type { WorkerReport, WorkerSettings } from './worker-process.ts';

type Queues = Record<string, { payload: Behaviour; result: Done }>;
type Handlers = SchedulerOptions<Queues>['handlers'];

const settings = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings;

const { clockOffsetMs } = settings;
const realNow = Date.now;
if (clockOffsetMs !== undefined) Date.now = () => realNow() + clockOffsetMs;

function report(event: WorkerReport['event']): void {
  const line: WorkerReport = { at: realNow(), event };
  // Written at once, so that nothing is lost with the process.
  writeSync(1, `${JSON.stringify(line)}\n`);
}

function told(event: SchedulerEvent): WorkerReport['event'] {
  if (!('error' in event) || event.error === undefined || typeof event.error === 'string') {
    return event as WorkerReport['event'];
  }
  const { error } = event;
  return {
    ...event,
    error: {
      message: error instanceof Error ? error.message : String(error),
      code:
        typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '',
    },
  } as WorkerReport['event'];
}

onReport(report);
// This file is compiled, and so is that one.
const module = new URL('./behaviours.js', import.meta.url);
const handlers: Record<string, NonNullable<Handlers[string]>> = {};
for (const queue of settings.queues) handlers[queue] = behave;
for (const queue of settings.threadQueues) handlers[queue] = { module };

const connection = { connectionString: settings.url, application_name: settings.name };
const scheduler = new Scheduler<Queues>({
  ...settings.options,
  connection,
  ...(settings.listenUrl === false ? { listenConnection: false as const } : {}),
  ...(typeof settings.listenUrl === 'string'
    ? {
        listenConnection: {
          connectionString: settings.listenUrl,
          application_name: `${settings.name}-listen`,
        },
      }
    : {}),
  handlers,
  onEvent: (event) => report(told(event)),
});

async function stop(): Promise<void> {
  const stopped = scheduler.stop(
    settings.graceMs === undefined ? {} : { graceMs: settings.graceMs },
  );
  report({ type: 'stopping' });
  report({ type: 'stopped', ...(await stopped) });
  await closeRecorder();
  process.stdin.destroy();
}

process.once('SIGTERM', () => void stop());

// The test's process has gone: so does this one. Does not keep it alive.
process.stdin.on('end', () => process.exit(1)).resume();
process.stdin.unref?.();

await scheduler.start();
report({ type: 'ready', workerId: scheduler.workerId });
