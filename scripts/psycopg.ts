/** Runs over-psycopg.py on a database with the schema. Needs Debian's python3-psycopg. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import {
  createTemplate,
  databaseUrl,
  dropDatabase,
  startTestServer,
} from '../tests-ts/support/server.ts';

const server = await startTestServer();
try {
  const name = await createTemplate(server.url);
  try {
    const program = join(import.meta.dirname, 'over-psycopg.py');
    // The interpreter that Debian's packages are for, whatever else stands in the path.
    execFileSync('/usr/bin/python3', [program, databaseUrl(server.url, name)], {
      stdio: 'inherit',
    });
  } finally {
    await dropDatabase(server.url, name);
  }
} finally {
  await server.stop();
}
