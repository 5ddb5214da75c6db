import { configDefaults, defineConfig, type ViteUserConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { countReporter } from './scripts/count-reporter.ts';

const quick = process.env['COPPICE_QUICK'] === '1';

/** What `npm run test:quick` leaves out. */
const slow = [
  'test/conformance/no-space.test.ts',
  'test/crash/**',
  'test/e2e/**',
  'test/package/**',
  'test/guest/**',
  'test/docs/examples.test.ts',
];

/** What leaves nothing behind in its process: one after the other is run in the same, with what that has loaded. */
const together = ['src/**/*.test.ts'];

/** What takes longest, in the order of time: begun last, one of them would run alone in the end. */
const longest = [
  'guest/zfs.test.ts',
  'crash/kill.test.ts',
  'guest/zfs-power-cut.test.ts',
  'crash/sweep.test.ts',
  'crash/power-cut.test.ts',
  'crash/faults.test.ts',
  'crash/places.test.ts',
  'conformance/no-space.test.ts',
  'conformance/concurrency.test.ts',
  'conformance/pools.test.ts',
  'server/pools.test.ts',
  'docs/examples.test.ts',
  'guest/running-machine.test.ts',
  'server/auth.test.ts',
  'e2e/completion.test.ts',
  'crash/pools.test.ts',
  'package/deb.test.ts',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId, project }: TestSpecification): number => {
      // Side by side, so that none gets between them for whom their process would have to end.
      if (!project.config.isolate) return longest.length + 1;
      const index = longest.findIndex((name) => moduleId.endsWith(`test/${name}`));
      return index < 0 ? longest.length : index;
    };
    return (await super.sort(files)).sort((one, other) => place(one) - place(other));
  }
}

const config: ViteUserConfig = defineConfig({
  // Node 24 runs `using` itself, so nothing needs rewriting and stack traces stay true.
  esbuild: { target: 'esnext' },
  test: {
    environment: 'node',
    setupFiles: ['test/support/leak-guard.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // Processes and not threads: tests mount, take locks and kill themselves.
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ['default', countReporter],
    projects: [
      {
        extends: true,
        test: {
          name: 'alone',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...(quick ? slow : []), ...together],
        },
      },
      {
        extends: true,
        test: {
          name: 'together',
          include: together,
          exclude: [...configDefaults.exclude, ...(quick ? slow : [])],
          isolate: false,
        },
      },
    ],
  },
});

export default config;
