/* The demonstration: npm start, or npx leasehold demo. See options.ts for what it does. */
import { demonstrate } from './demo.ts';
import { HELP, parseOptions, UsageError } from './options.ts';
import { Terminal } from './terminal.ts';

const terminal = new Terminal();
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // Once: the second time it ends this process at once, and the others notice.
  process.once(signal, () => interrupted.abort(new Error(`interrupted (${signal})`)));
}
// Whoever reads has gone.
process.stdout.on('error', () => interrupted.abort(new Error('nobody reads')));

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) process.stdout.write(HELP);
  else process.exitCode = (await demonstrate(options, terminal, interrupted.signal)) ? 0 : 1;
} catch (error) {
  terminal.close();
  process.stderr.write(
    `demo: ${interrupted.signal.aborted ? interrupted.signal.reason.message : describe(error)}\n`,
  );
  if (error instanceof UsageError) process.stderr.write('Try "npm start -- --help".\n');
  process.exitCode = interrupted.signal.aborted ? 130 : error instanceof UsageError ? 2 : 1;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // A name with several addresses fails once for each, and the error around them says nothing.
  const causes = error instanceof AggregateError ? error.errors.map(describe) : [];
  return error.message || causes.join(', ') || error.name;
}
