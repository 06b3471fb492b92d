/* A process in which piscina is not installed: what becomes of a job whose handler is a module. */
import { register } from 'node:module';
import { Scheduler, type StopResult } from '../../client/index.ts';

const hooks = `export async function resolve(name, context, next) {
  if (name === 'piscina') {
    throw Object.assign(new Error('Cannot find package piscina'), { code: 'ERR_MODULE_NOT_FOUND' });
  }
  return next(name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

const [url = '', queue = ''] = process.argv.slice(2);
const settled = await new Promise<{ error?: string; stopped: Promise<StopResult> }>((resolve) => {
  const scheduler: Scheduler = new Scheduler({
    connection: url,
    handlers: { [queue]: { module: new URL('./thread-handlers/echo.ts', import.meta.url) } },
    onEvent: (event) => {
      if (event.type === 'job:settled') resolve({ ...event, stopped: scheduler.stop() });
    },
  });
  void scheduler.start();
});
process.stdout.write(JSON.stringify({ error: settled.error, ...(await settled.stopped) }));
