import { execFileSync } from 'node:child_process';
import { existsSync, openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';

export const repository: string = join(import.meta.dirname, '..', '..');

let isKnownToBeCurrent = false;

/** The built command, made again when a source is newer: a test of the process must not test an old one. */
export function builtCommand(): string {
  const command = join(repository, 'dist', 'cli.js');
  if (isKnownToBeCurrent) return command;
  // Two test files may get here at once.
  using guard = new Descriptor(openSync(join(repository, 'scripts'), 'r'));
  lock(guard.fd, 'exclusive', true);
  if (!isCurrent()) execFileSync(process.execPath, ['scripts/build.ts'], buildOptions);
  isKnownToBeCurrent = true;
  return command;
}

const buildOptions = {
  cwd: repository,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${join(repository, 'node_modules', '.bin')}:${process.env['PATH']}` },
} as const;

function isCurrent(): boolean {
  const built = [
    'dist/cli.js',
    'dist/command-line.js',
    'dist/server.js',
    'dist/index.js',
    'dist/client.js',
    'dist/worker.js',
    'dist/inventory-worker.js',
    'dist/comparison-worker.js',
    'dist/state-worker.js',
    'dist/thaw-watchdog.js',
    'dist/release-watchdog.js',
    'dist/hook-runner.js',
    'dist/guard-supervisor.js',
    'dist/sqlite-session.js',
    'dist/mysql-client.js',
    'dist/postgres-client.js',
    'dist/types/index.d.ts',
    'dist/types/client/index.d.ts',
  ].map((file) => join(repository, file));
  if (!built.every((file) => existsSync(file))) return false;
  const sources = readdirSync(join(repository, 'src'), { recursive: true }).map((file) =>
    join(repository, 'src', String(file)),
  );
  const time = (file: string): number => statSync(file).mtimeMs;
  return Math.max(...sources.map(time)) <= Math.min(...built.map(time));
}
