/** How threads understand TypeScript, which the process of a test does in a way of its own. */
export const TSX_THREADS = {
  execArgv: [
    '--import',
    `data:text/javascript,import{register}from"${import.meta.resolve('tsx/esm/api')}";register()`,
  ],
} as const;
