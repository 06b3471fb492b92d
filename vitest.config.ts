import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests-ts/**/*.test.ts'],
    // Runs from node_modules when the clone lies in a dot folder or a temporary one.
    root: import.meta.dirname,
  },
});
