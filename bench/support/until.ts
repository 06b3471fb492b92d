import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 10;
const TIMEOUT_MS = 120_000;

/** Asks until the answer is yes. Throws with `what` was waited for where that takes too long. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(POLL_MS);
  }
}
