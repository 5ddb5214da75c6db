import { configDefaults, defineConfig, type ViteUserConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { countReporter } from './scripts/count-reporter.ts';

const quick = process.env['COPPICE_QUICK'] === '1';

/** What takes longest, by far, in the order of time: begun last, one of them would run alone in the end. */
const longest = [
  'guest/zfs.test.ts',
  'crash/kill.test.ts',
  'guest/zfs-power-cut.test.ts',
  'crash/sweep.test.ts',
  'crash/faults.test.ts',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isOf = (name: string): ((file: TestSpecification) => boolean) => {
      return ({ moduleId }) => moduleId.endsWith(`test/${name}`);
    };
    const first = longest.flatMap((name) => sorted.filter(isOf(name)));
    return [...first, ...sorted.filter((file) => !first.includes(file))];
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
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ['default', countReporter],
  },
});

export default config;
