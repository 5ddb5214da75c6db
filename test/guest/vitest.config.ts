import { defineConfig, type ViteUserConfig } from 'vitest/config';
import { guestReporter } from './reporter.ts';

/** How tests run inside of a guest: one after the other in one process, because everything there takes ten times as long. */
const config: ViteUserConfig = defineConfig({
  // The checkout can only be read there.
  cacheDir: '/tmp/vite',
  test: {
    environment: 'node',
    include: (process.env['COPPICE_GUEST_TESTS'] ?? '').split(' '),
    setupFiles: ['./leak-guard.js'],
    pool: 'forks',
    // Each thread strips types by WebAssembly. Where several begin to compile it better at once, Node 24 crashes (nodejs/node#64500),
    // for which an emulated processor leaves it more time.
    execArgv: ['--liftoff-only'],
    maxWorkers: 1,
    isolate: false,
    // They are bundled, so there is nothing to transform.
    experimental: { viteModuleRunner: false, nodeLoader: false },
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    reporters: [guestReporter],
  },
});

export default config;
