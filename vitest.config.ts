import { configDefaults, defineConfig, type ViteUserConfig } from 'vitest/config';
import { countReporter } from './scripts/count-reporter.ts';

const quick = process.env['COPPICE_QUICK'] === '1';

const config: ViteUserConfig = defineConfig({
  // Node 24 runs `using` itself, so nothing needs rewriting and stack traces stay true.
  esbuild: { target: 'esnext' },
  test: {
    environment: 'node',
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    exclude: [
      ...configDefaults.exclude,
      ...(quick
        ? [
            'test/conformance/no-space.test.ts',
            'test/crash/**',
            'test/e2e/**',
            'test/package/**',
            'test/guest/**',
            'test/docs/examples.test.ts',
          ]
        : []),
    ],
    setupFiles: ['test/support/leak-guard.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // Processes and not threads: tests mount, take locks and kill themselves.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ['default', countReporter],
  },
});

export default config;
