import type pg from 'pg';
import { Client, type WaitingMode } from '../../client/index.ts';

/** Sets how the session of this connection waits. */
export function setWaiting(
  session: pg.Client,
  queues: readonly string[],
  mode: WaitingMode,
): Promise<number | null> {
  return new Client(session).setWaiting(queues, mode, processIdOf(session));
}

/** The process id that the server, or a pooler in its place, told the driver. */
export function processIdOf(session: pg.Client): number {
  return (session as { processID?: number }).processID ?? Number.NaN;
}
