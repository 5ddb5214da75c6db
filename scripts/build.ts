// Builds what is published: dist/cli.js with dist/command-line.js and dist/server.js, dist/index.js, dist/client.js, the threads
// (dist/worker.js, dist/inventory-worker.js, dist/comparison-worker.js, dist/state-worker.js), what runs as a process of its own
// beside a command, and the declarations in dist/types.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';

const root = path.dirname(import.meta.dirname);
process.chdir(root);

const shared = {
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  // Node has it. What esbuild makes of it in a loop throws the error of an earlier round again (0.28.2).
  supported: { using: true },
  // koffi finds its native library next to its own files, so it can't move into a bundle.
  external: ['koffi'],
  define: { COPPICE_VERSION: JSON.stringify(versionOf('package.json')) },
  logLevel: 'warning',
} satisfies BuildOptions;

/**
 * In one file, imports of Node's own modules would all run at the start, also those of commands that are not used: this has each
 * of them loaded where it is first needed, which takes a third off the start of the command line.
 */
const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup(setup) {
    setup.onResolve({ filter: /^node:/ }, ({ path: name }) => ({ path: name, namespace: 'builtin' }));
    setup.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path: name }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(name)});`,
    }));
  },
};

/**
 * Leaves a module that is imported when it is needed in a file of its own, beside the others: what the command begins with stays so
 * small that reading it takes no time, and only `coppice serve` reads the server.
 */
function apart(module: RegExp, file: string): Plugin {
  return {
    name: `apart ${file}`,
    setup(setup) {
      setup.onResolve({ filter: module }, ({ kind }) =>
        kind === 'dynamic-import' ? { path: `./${file}`, external: true } : undefined,
      );
    },
  };
}

/** The clients of databases, which few have: whoever talks to one loads its client, and nobody else. */
const clientsApart = [
  apart(/\/mysql-client\.ts$/, 'mysql-client.js'),
  apart(/\/postgres-client\.ts$/, 'postgres-client.js'),
];

/** Some of what they are made of asks for Node's own modules in the older way. */
const commonJs = {
  js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
};

const built = await Promise.all([
  bundle('src/cli/main.ts', 'dist/cli.js', {
    banner: { js: '#!/usr/bin/env node' },
    plugins: [apart(/\/command-line\.ts$/, 'command-line.js'), lazyBuiltins],
  }),
  // One file without chunks: it starts faster, and a command's modules run only when it is imported.
  bundle('src/cli/command-line.ts', 'dist/command-line.js', {
    plugins: [apart(/\/server\/main\.ts$/, 'server.js'), ...clientsApart, lazyBuiltins],
  }),
  // With the packages that it needs: the Debian package has none beside it but koffi.
  bundle('src/server/main.ts', 'dist/server.js', { plugins: clientsApart }),
  bundle('src/index.ts', 'dist/index.js', { plugins: clientsApart }),
  // Whoever uses the client may use the same packages beside it: their messages must be the same classes.
  bundle('src/client/index.ts', 'dist/client.js', { external: ['@bufbuild/*', '@connectrpc/*'] }),
  bundle('src/engine/worker.ts', 'dist/worker.js', { plugins: clientsApart }),
  bundle('src/consistency/mysql/mysql-client.ts', 'dist/mysql-client.js', { banner: commonJs }),
  bundle('src/server/pools/inventory-worker.ts', 'dist/inventory-worker.js', { plugins: clientsApart }),
  bundle('src/server/pools/comparison-worker.ts', 'dist/comparison-worker.js', { plugins: clientsApart }),
  bundle('src/server/state/state-worker.ts', 'dist/state-worker.js'),
  bundle('src/consistency/thaw-watchdog.ts', 'dist/thaw-watchdog.js'),
  bundle('src/consistency/release-watchdog.ts', 'dist/release-watchdog.js'),
  bundle('src/consistency/hook-runner.ts', 'dist/hook-runner.js'),
  bundle('src/engine/guards/guard-supervisor.ts', 'dist/guard-supervisor.js', { plugins: clientsApart }),
  bundle('src/consistency/sqlite-session.ts', 'dist/sqlite-session.js'),
  bundle('src/consistency/postgres/postgres-client.ts', 'dist/postgres-client.js', {
    banner: commonJs,
    external: ['pg-native'], // which it could use in place of itself, and is never asked to
  }),
]).catch(stop);
chmodSync('dist/cli.js', 0o755);
removeOthers(built);
declarations('dist/types');

function versionOf(manifest: string): string {
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
  return version;
}

/** Publishes by rename: a program that is starting while this builds sees the old file or the new one. */
async function bundle(entry: string, outfile: string, options: BuildOptions = {}): Promise<string> {
  const { outputFiles } = await build({ ...shared, ...options, entryPoints: [entry], outfile, write: false });
  mkdirSync(path.dirname(outfile), { recursive: true });
  for (const file of outputFiles) {
    const unfinished = `${file.path}.${process.pid}`;
    writeFileSync(unfinished, file.contents);
    renameSync(unfinished, file.path);
  }
  return path.basename(outfile);
}

/** What an earlier version has built would be packed with the rest. */
function removeOthers(names: readonly string[]): void {
  const others = readdirSync('dist').filter((name) => name.endsWith('.js') && !names.includes(name));
  for (const name of others) rmSync(path.join('dist', name));
}

function declarations(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  execFileSync('tsc', ['-p', 'tsconfig.types.json'], { stdio: 'inherit' });
}

/** esbuild has already printed what is wrong and where; its stack trace would only hide that. */
function stop(error: unknown): never {
  if (error instanceof Error && 'errors' in error) process.exit(1);
  throw error;
}
