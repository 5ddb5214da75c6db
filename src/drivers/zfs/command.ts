import { spawnSync } from 'node:child_process';
import { environment } from '../../linux/programs.ts';
import { CoppiceError } from '../../model/errors.ts';

/** Longer than any pool that works takes. */
const timeout = 120_000;

/**
 * Runs `zfs` or `zpool`, for what only they can do. What they say of a failure is passed on whole, and never looked into.
 * @throws CoppiceError io_error, missing_tool
 */
export function runZfs(program: 'zfs' | 'zpool', args: readonly string[]): string {
  const { status, signal, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 30,
    timeout,
    killSignal: 'SIGKILL',
  });
  if (status === 0) return stdout;
  if (error && 'code' in error && error.code === 'ENOENT') {
    throw new CoppiceError(
      'missing_tool',
      `The program ${program} could not be started: install it with "apt-get install zfsutils-linux".`,
      { cause: error },
    );
  }
  const what = `${program} ${args[0] ?? ''}`;
  if (error && 'code' in error && error.code === 'ETIMEDOUT') {
    throw new CoppiceError(
      'io_error',
      `${what} has not ended in ${timeout / 1000} seconds and was stopped; "zpool status" says whether the pool is suspended.`,
      { cause: error },
    );
  }
  const said = stderr.trim().replace(/\.$/, '');
  throw new CoppiceError(
    'io_error',
    `${what} failed (${signal ?? `exit code ${status}`}): ${said || 'it said nothing'}.`,
  );
}
