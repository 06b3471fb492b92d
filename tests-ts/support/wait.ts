import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';

const POLL_MS = 10;

/** Resolves once the condition holds. It is the test's own limit that ends a wait in vain. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(POLL_MS);
}

/** Resolves once a session of the observer's database waits for a lock: a backend's pid, or a name. */
export async function untilBlocked(
  observer: pg.ClientBase,
  session: { readonly pid: number } | { readonly applicationName: string },
): Promise<void> {
  await until(async () => {
    const { rowCount } = await observer.query(
      `select from pg_catalog.pg_stat_activity
       where datname = current_database()
         and wait_event_type = 'Lock'
         and (pid = $1 or application_name = $2)`,
      'pid' in session ? [session.pid, null] : [null, session.applicationName],
    );
    return rowCount !== null && rowCount > 0;
  });
}
