import { execFile } from 'node:child_process';
import { chmod, mkdtemp, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type EmbeddedServer, startEmbedded } from '../../client/embedded.ts';

const run = promisify(execFile);

/**
 * A hot standby that streams from a server, which is restarted for the copy. Has what its database holds
 * now, and nothing can be written on it. To be stopped by the test.
 */
export async function startStandby(primary: EmbeddedServer): Promise<EmbeddedServer> {
  const dir = await mkdtemp(join(tmpdir(), 'leasehold-standby-'));
  await chmod(dir, 0o711);
  const data = join(dir, 'data');
  await primary.down();
  await run('cp', ['-a', await realpath(join(dirname(primary.logFile), 'data')), data]);
  await writeFile(join(data, 'standby.signal'), '', { mode: 0o644 });
  await primary.up();
  const { hostname, port, username, password } = new URL(primary.url);
  return startEmbedded({
    dir,
    persistent: false,
    settings: {
      fsync: false,
      max_connections: 200,
      primary_conninfo: `host=${hostname} port=${port} user=${username} password=${password}`,
    },
    ...(process.env.LEASEHOLD_TEST_BINARIES
      ? { binaries: process.env.LEASEHOLD_TEST_BINARIES }
      : {}),
  });
}
