#!/usr/bin/env node
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type MigrateEvent, migrate } from './migrate.ts';
import { VERSION } from './version.ts';

const HELP = `leasehold: a job queue for long-running work on plain PostgreSQL

Usage:
  leasehold migrate [--database-url URL]   create schema leasehold, or bring it up to date
  leasehold demo [DIR]                     run the demonstration on the files of DIR
  leasehold --version
  leasehold --help

Options:
  --database-url URL   the database to work on; default: the environment variable DATABASE_URL
  -h, --help           show this text
  -v, --version        show the version of this package

Exit status: 0 done, 1 failed, 2 not understood.
`;

class UsageError extends Error {}

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args);
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (values.version) {
    process.stdout.write(`${VERSION}\n`);
    return 0;
  }
  const [command, ...rest] = positionals;
  switch (command) {
    case 'migrate':
      if (rest.length > 0) throw new UsageError(`migrate takes no argument, got "${rest[0]}"`);
      return await runMigrate(values['database-url'] ?? process.env.DATABASE_URL);
    case 'demo':
      if (rest.length > 1) throw new UsageError('demo takes one folder at most');
      return await runDemo(rest, values['database-url']);
    case undefined:
      throw new UsageError('name a command');
    default:
      throw new UsageError(`there is no command "${command}"`);
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        'database-url': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

async function runMigrate(databaseUrl: string | undefined): Promise<number> {
  if (!databaseUrl) {
    throw new UsageError('name the database with --database-url or the variable DATABASE_URL');
  }
  const { applied } = await migrate({ connection: databaseUrl, onEvent: report });
  const count = `${applied.length} ${applied.length === 1 ? 'migration' : 'migrations'} applied`;
  process.stdout.write(applied.length > 0 ? `${count}\n` : 'schema leasehold is up to date\n');
  return 0;
}

function report(event: MigrateEvent): void {
  switch (event.type) {
    case 'migration:adopted':
      process.stdout.write(`found ${event.name}, which sql/install.sql had made\n`);
      break;
    case 'migration:applied':
      process.stdout.write(`applied ${event.name}\n`);
      break;
    case 'migration:postponed':
      process.stderr.write(
        `attempt ${event.attempt} gave way: ${describe(event.cause)}; again in ${event.retryInMs} ms\n`,
      );
      break;
  }
}

/** The demonstration is a program of its own, of several processes; it has this one's terminal. */
async function runDemo(args: readonly string[], databaseUrl: string | undefined): Promise<number> {
  const program = join(
    import.meta.dirname,
    `../examples/demo/main${extname(import.meta.filename)}`,
  );
  const child = spawn(process.execPath, [...process.execArgv, program, ...args], {
    stdio: 'inherit',
    env: { ...process.env, ...(databaseUrl ? { DATABASE_URL: databaseUrl } : {}) },
  });
  // Ctrl-C reaches the demonstration as well, which then cleans up; its end is waited for.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const [code] = await once(child, 'exit');
  return typeof code === 'number' ? code : 1;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // A name with several addresses fails once for each, and the error around them says nothing.
  const causes = error instanceof AggregateError ? error.errors.map(describe) : [];
  const details = ['detail', 'hint'].flatMap((field) => {
    const text = (error as unknown as Record<string, unknown>)[field];
    return typeof text === 'string' ? [`\n  ${field}: ${text}`] : [];
  });
  return (error.message || causes.join(', ') || error.name) + details.join('');
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const usage = error instanceof UsageError;
  process.stderr.write(`leasehold: ${describe(error)}\n`);
  if (usage) process.stderr.write('Try "leasehold --help".\n');
  process.exitCode = usage ? 2 : 1;
}
