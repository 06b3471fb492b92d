import type { TestProject } from 'vitest/node';
import { compileWorker } from './compiled.ts';
import { createTemplate, dropDatabase, startTestServer } from './server.ts';

/** One server, one template and one worker program for the whole run. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startTestServer();
  const [template, compiled] = await Promise.all([createTemplate(server.url), compileWorker()]);
  project.provide('server', { url: server.url, template });
  project.provide('worker', compiled.worker);
  return async () => {
    await compiled.remove();
    await dropDatabase(server.url, template);
    await server.stop();
  };
}
