import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { repository } from './built.ts';
import { mark } from './marks.ts';

const command = join(repository, 'src', 'cli', 'main.ts');

export interface Daemon extends AsyncDisposable {
  readonly pid: number;
  readonly process: ChildProcess;
  /** Everything it has said. */
  log(): string;
  /** Resolves when it has said a line that matches. Rejects when it ends first. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
  /** Resolves to its exit code, or the name of the signal that ended it. */
  readonly ended: Promise<number | string>;
}

export interface DaemonSetup {
  readonly environment?: NodeJS.ProcessEnv;
  /** Given to it as the descriptors 3, 4, ... */
  readonly descriptors?: readonly number[];
  /** What runs it: words that take the command as further words. */
  readonly through?: readonly string[];
}

/** `coppice serve` as a process of its own. With descriptors, it is told of them as systemd tells it. */
export function startDaemon(args: readonly string[], setup: DaemonSetup = {}): Daemon {
  const { environment = {}, descriptors = [], through = [] } = setup;
  const stdio: StdioOptions = ['ignore', 'pipe', 'pipe', ...descriptors];
  // The process has to say that the sockets are for itself, and only knows its number when it runs: the shell becomes it.
  const line =
    descriptors.length > 0 ? `LISTEN_PID=$$ LISTEN_FDS=${descriptors.length} exec "$@"` : 'exec "$@"';
  const child = spawn('sh', ['-c', line, 'sh', ...through, process.execPath, command, 'serve', ...args], {
    stdio,
    env: { PATH: process.env['PATH'], ...mark(), ...environment },
    cwd: '/',
  });
  let log = '';
  const lookers = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      log += chunk;
      for (const look of lookers) look();
    });
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  return {
    pid: child.pid ?? -1,
    process: child,
    log: () => log,
    ended,
    said: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = pattern.exec(log);
          if (!found) return;
          lookers.delete(look);
          resolve(found);
        };
        lookers.add(look);
        void ended.then((end) =>
          reject(new Error(`It ended with ${end} and never said ${pattern}:\n${log}`)),
        );
        look();
      }),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
      await ended;
    },
  };
}
