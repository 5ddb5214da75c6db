import { defineConfig, type ViteUserConfig } from 'vitest/config';
import { guestReporter } from './reporter.ts';

/** How tests run inside of a guest: one after the other in one process, because everything there takes ten times as long. */
const isBundled = process.env['COPPICE_TEST_PROGRAMS'] !== undefined;

const config: ViteUserConfig = defineConfig({
  esbuild: { target: 'esnext' },
  // The checkout can only be read there.
  cacheDir: '/tmp/vite',
  test: {
    environment: 'node',
    include: (process.env['COPPICE_GUEST_TESTS'] ?? '').split(' '),
    ...(!isBundled && { root: process.cwd() }),
    setupFiles: [isBundled ? './leak-guard.js' : 'test/support/leak-guard.ts'],
    pool: 'forks',
    // Each thread strips types by WebAssembly. Where several begin to compile it better at once, Node 24 crashes (nodejs/node#64500),
    // for which an emulated processor leaves it more time.
    execArgv: ['--liftoff-only'],
    maxWorkers: 1,
    isolate: false,
    // Of what is bundled there is nothing to transform.
    experimental: { viteModuleRunner: !isBundled, nodeLoader: !isBundled },
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    reporters: [guestReporter],
  },
});

export default config;
