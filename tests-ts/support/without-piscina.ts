/* A process in which piscina is not installed: what a scheduler says whose handler is a module. */
import { register } from 'node:module';
import { type LeaseholdError, Scheduler } from '../../client/index.ts';

const hooks = `export async function resolve(name, context, next) {
  if (name === 'piscina') {
    throw Object.assign(new Error('Cannot find package piscina'), { code: 'ERR_MODULE_NOT_FOUND' });
  }
  return next(name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

const [url = '', queue = ''] = process.argv.slice(2);
const scheduler = new Scheduler({
  connection: url,
  handlers: { [queue]: { module: new URL('./thread-handlers/echo.ts', import.meta.url) } },
});
const refusal = await scheduler.start().catch((error: unknown) => error);
const { code, message, hint } = refusal as LeaseholdError;
process.stdout.write(JSON.stringify({ code, message, hint }));
