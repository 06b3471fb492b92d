import type { TestProject } from 'vitest/node';
import { createTemplate, dropDatabase, startTestServer } from './server.ts';

/** One server and one template for the whole run. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startTestServer();
  const template = await createTemplate(server.url);
  project.provide('server', { url: server.url, template });
  return async () => {
    await dropDatabase(server.url, template);
    await server.stop();
  };
}
