/**
 * Installs the schema with psql, as an operator would, and runs plpgsql_check over every function.
 *
 * Needs psql, and a server that has the extension: Debian's, by LEASEHOLD_TEST_BINARIES or DATABASE_URL.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type pg from 'pg';
import { packageRoot } from '../client/package-root.ts';
import {
  createEmptyDatabase,
  databaseUrl,
  dropDatabase,
  startTestServer,
  withClient,
} from '../tests-ts/support/server.ts';

interface Finding {
  readonly level: string;
  readonly line: number | null;
  readonly message: string;
  readonly detail: string | null;
  readonly hint: string | null;
}

async function main(): Promise<boolean> {
  const server = await startTestServer();
  try {
    const name = await createEmptyDatabase(server.url);
    try {
      const url = databaseUrl(server.url, name);
      install(url);
      return await withClient(url, checkAll);
    } finally {
      await dropDatabase(server.url, name);
    }
  } finally {
    await server.stop();
  }
}

function install(url: string): void {
  const manifest = join(packageRoot(), 'sql/install.sql');
  const options = ['--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--single-transaction'];
  execFileSync('psql', [...options, `--file=${manifest}`, url], { stdio: 'inherit' });
}

async function checkAll(client: pg.Client): Promise<boolean> {
  await client.query('create extension plpgsql_check');
  const { rows: functions } = await client.query<{ oid: number; signature: string }>(
    `select proc.oid, proc.oid::regprocedure::text as signature
     from pg_proc as proc
     join pg_language as language on language.oid = proc.prolang
     where proc.pronamespace = 'leasehold'::regnamespace and language.lanname = 'plpgsql'
     order by signature`,
  );
  let failed = 0;
  for (const { oid, signature } of functions) {
    const { rows: findings } = await client.query<Finding>(
      `select lineno as line, level, message, detail, hint
       from plpgsql_check_function_tb($1::oid::regprocedure, fatal_errors => false, all_warnings => true)`,
      [oid],
    );
    if (findings.length > 0) failed += 1;
    for (const { level, line, message, detail, hint } of findings) {
      console.log(`${signature}:${line ?? '?'}: ${level}: ${message}`);
      for (const more of [detail, hint]) if (more) console.log(`    ${more}`);
    }
  }
  console.log(`\n${functions.length - failed} passed, ${failed} failed`);
  return functions.length > 0 && failed === 0;
}

if (!(await main())) process.exitCode = 1;
