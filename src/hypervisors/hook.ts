import { type ChildProcess, spawn } from 'node:child_process';
import { environment, lastLine } from '../linux/programs.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { requireOwn } from '../linux/trusted-path.ts';
import { CoppiceError } from '../model/errors.ts';
import type { GrownDisk, Told } from './notify.ts';
import type { HypervisorTarget } from './target.ts';

type HookTarget = Extract<HypervisorTarget, { kind: 'hook' }>;

/** Milliseconds that what it has left running may keep its last words back. */
const lastWords = 200;

/**
 * Runs a program of the user's that tells whoever has to know. It gets what it needs by its environment, and no shell reads its
 * arguments. When the time is over, all that it has started in its process group is killed.
 */
export async function runHook({ command }: HookTarget, disk: GrownDisk, signal: AbortSignal): Promise<Told> {
  const [program = '', ...args] = command;
  requireOwn(program, 'the hook');
  signal.throwIfAborted();
  const child = spawn(program, args, {
    env: { ...environment, ...variables(disk) },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
    cwd: '/',
  });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk).slice(-10_000);
  });
  const kill = (): void => killGroup(child);
  signal.addEventListener('abort', kill, { once: true });
  try {
    const ended = await exitOf(child);
    if (signal.aborted) throw signal.reason;
    if (ended !== 0) {
      const how = typeof ended === 'number' ? `exit code ${ended}` : ended;
      throw new CoppiceError(
        'io_error',
        `${program} failed (${how}): ${lastLine(errors) || 'it said nothing'}.`,
      );
    }
    return { told: `${program} with COPPICE_VOLUME=${disk.name}` };
  } finally {
    signal.removeEventListener('abort', kill);
    child.stderr.destroy();
  }
}

function variables(disk: GrownDisk): Readonly<Record<string, string>> {
  return {
    COPPICE_VOLUME: disk.name,
    COPPICE_PATH: disk.path,
    COPPICE_BYTES: String(disk.bytes),
    COPPICE_PREVIOUS_BYTES: String(disk.previousBytes),
  };
}

function exitOf(child: ChildProcess): Promise<number | NodeJS.Signals> {
  return new Promise((resolve, reject) => {
    child.on('error', (error) =>
      reject(
        new CoppiceError('io_error', `The hook could not be started: ${error.message}.`, { cause: error }),
      ),
    );
    child.on('exit', (code, killed) => {
      // What it leaves behind in its group would go on without a limit.
      killGroup(child);
      const ended = code ?? killed ?? 1;
      const timer = setTimeout(() => resolve(ended), lastWords);
      child.on('close', () => {
        clearTimeout(timer);
        resolve(ended);
      });
    });
  });
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (!hasErrno(error, 'ESRCH')) throw error;
  }
}
