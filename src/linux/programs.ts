import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { CoppiceError } from '../model/errors.ts';
import { hasErrno } from './system-calls.ts';

/** Which Debian package brings a program, for the sentence that says what is missing. */
const packages: Readonly<Record<string, string>> = {
  'mkfs.btrfs': 'btrfs-progs',
  'mkfs.xfs': 'xfsprogs',
  xfs_growfs: 'xfsprogs',
  'qemu-img': 'qemu-utils',
  bwrap: 'bubblewrap',
  mount: 'mount',
  umount: 'mount',
  losetup: 'mount',
  wipefs: 'util-linux',
  prlimit: 'util-linux',
};

// cron jobs and minimal shells lack the sbin directories, where mkfs and losetup live.
export const environment: NodeJS.ProcessEnv & { readonly PATH: string } = {
  PATH: `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
  LC_ALL: 'C',
};

export function packageOf(program: string): string {
  return packages[program] ?? program;
}

/** Where a program would be started from; undefined where it is not installed. */
export function findProgram(program: string): string | undefined {
  return environment.PATH.split(':')
    .filter(Boolean)
    .map((directory) => join(directory, program))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP')) return false;
    throw error;
  }
}

/**
 * Runs a program to its end and returns its output. Arguments are passed as they are, never through a shell.
 * @param descriptors the program gets these as 3, 4, and so on; a lock on one lasts until the program has ended, even if we die before
 */
export function runProgram(
  program: string,
  args: readonly string[],
  descriptors: readonly number[] = [],
): string {
  const { status, signal, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe', ...descriptors],
  });
  if (error) throw startFailure(program, error);
  if (status === 0) return stdout;
  throw new CoppiceError(
    'io_error',
    `${program} failed (${signal ?? `exit code ${status}`}): ${lastLine(stderr) || 'it said nothing'}.`,
  );
}

export interface StreamOptions {
  /** Open descriptors that the program gets as 3, 4, and so on. */
  readonly descriptors?: readonly number[];
  readonly signal?: AbortSignal | undefined;
  /** Called with each piece of standard output. */
  readonly onOutput?: (text: string) => void;
}

/**
 * Runs a program without blocking; resolves with its exit code and what it said. It has a session and a process group of its
 * own, without a terminal. When the signal fires, or when it ends before what it has started, all of the group is killed; this
 * resolves when the last of them has let go of its output, so that none has the descriptors open any more.
 */
export function streamProgram(
  program: string,
  args: readonly string[],
  options: StreamOptions,
): Promise<{ readonly code: number; readonly output: string; readonly errors: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe', ...(options.descriptors ?? [])],
      detached: true,
    });
    const kill = (): void => killGroup(child);
    let [output, errors] = ['', ''];
    child.stdout?.on('data', (chunk: Buffer) => {
      output = (output + chunk).slice(-100_000);
      options.onOutput?.(chunk.toString());
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      errors = (errors + chunk).slice(-100_000);
    });
    child.on('error', (error) => reject(startFailure(program, error)));
    child.on('exit', () => {
      // From here on the number of the group may mean another one.
      options.signal?.removeEventListener('abort', kill);
      kill();
    });
    child.on('close', (code, signal) => {
      resolve({ code: code ?? 128, output, errors: errors || (signal ? `killed by ${signal}` : '') });
    });
    options.signal?.addEventListener('abort', kill, { once: true });
    if (options.signal?.aborted) kill();
  });
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (!hasErrno(error, 'ESRCH')) throw error; // all of it has ended
  }
}

export function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.trim().replace(/\.$/, '') ?? '';
}

function startFailure(program: string, error: Error): CoppiceError {
  const name = packages[program];
  const remedy = name ? `install it with "apt-get install ${name}"` : 'install it';
  return new CoppiceError('missing_tool', `The program ${program} could not be started: ${remedy}.`, {
    cause: error,
  });
}
