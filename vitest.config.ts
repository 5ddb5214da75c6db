import { configDefaults, defineConfig, type ViteUserConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { countReporter } from './scripts/count-reporter.ts';

const quick = process.env['COPPICE_QUICK'] === '1';

/** The longest of all first, beside which the others run. */
class GuestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isGuest = ({ moduleId }: TestSpecification): boolean => moduleId.endsWith('test/guest/zfs.test.ts');
    return [...sorted.filter(isGuest), ...sorted.filter((file) => !isGuest(file))];
  }
}

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
    sequence: { sequencer: GuestFirst },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ['default', countReporter],
  },
});

export default config;
