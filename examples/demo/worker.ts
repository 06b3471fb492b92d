/* A worker process: one scheduler, told to stop by the demonstration that forked it. */
import { extname } from 'node:path';
import { Scheduler } from '../../client/index.ts';

/** What a worker process is told when it is forked. The database is in DATABASE_URL. */
export interface WorkerSettings {
  readonly queue: string;
  readonly applicationName: string;
  readonly concurrency: number;
  readonly leaseMs: number;
}

/** What it is told later. */
export interface StopMessage {
  readonly graceMs: number;
}

const settings: WorkerSettings = JSON.parse(process.argv[2] ?? '{}');

const scheduler = new Scheduler({
  connection: {
    connectionString: process.env.DATABASE_URL,
    application_name: settings.applicationName,
  },
  handlers: {
    [settings.queue]: { module: new URL(`./handler${extname(import.meta.url)}`, import.meta.url) },
  },
  concurrency: settings.concurrency,
  leaseMs: settings.leaseMs,
  // The work keeps every core busy, so an answer may take its time.
  callTimeoutMs: settings.leaseMs / 3,
  checkpointMs: 100,
  // Long enough for a zombie to finish its file and try to complete it.
  cancelGraceMs: 60_000,
  onEvent: (event) => {
    if (process.connected) process.send?.(event);
  },
});

// Ctrl-C reaches every process of the terminal; the demonstration says what is to be done.
process.on('SIGINT', () => undefined);
// Nobody is left to report to: the leases expire, and the jobs go to whoever asks for them.
process.once('disconnect', () => process.exit());
// It may have happened already, while this program was being loaded.
if (!process.connected) process.exit();
process.on('message', ({ graceMs }: StopMessage) => {
  void scheduler.stop({ graceMs }).then(() => process.disconnect());
});
await scheduler.start();
