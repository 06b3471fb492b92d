import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests-ts/**/*.test.ts'],
    globalSetup: ['tests-ts/support/global-setup.ts'],
    // Tests wait for what they wait for; these limits are for the ones that would wait for ever.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
    // Scenarios start processes of their own and race real clocks: few at a time, on any machine.
    maxWorkers: 2,
    maxConcurrency: 3,
  },
});
