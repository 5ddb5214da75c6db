import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { CoppiceError } from '../model/errors.ts';

export type ThawOutcome = 'thawed' | 'unknown' | 'still trying';

export interface Watchdog {
  /** The guest is thawed, and needs it no more. */
  dismiss(): void;
  /**
   * Has it thaw the guest now.
   * @param patience milliseconds to wait for the agent to say so; after that it goes on alone
   */
  thaw(patience: number): Promise<ThawOutcome>;
}

/**
 * Starts a process that thaws a guest after a time, or as soon as we have ended, whatever ends us. It is there when this returns.
 * @param agent the connection, which it gets too
 * @throws CoppiceError io_error
 */
export async function startWatchdog(agent: Socket, milliseconds: number): Promise<Watchdog> {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const script = new URL(`./thaw-watchdog.${extension}`, import.meta.url);
  const child = spawn(process.execPath, [fileURLToPath(script), String(milliseconds)], {
    stdio: ['pipe', 'pipe', 'ignore', agent],
    env: {},
    cwd: '/',
    detached: true, // what is sent to our group, as by Ctrl-C, must not end it too
  });
  // Node stops reading what it gives to a child; the answers are still for us.
  agent.resume();
  const ended = new Promise<number | null>((resolve) => {
    child.on('exit', resolve);
    child.on('error', () => resolve(null));
  });
  child.stdin?.on('error', () => undefined);
  await isReady(child, ended);
  child.unref();
  return {
    dismiss: () => void child.stdin?.end('all is well\n'),
    async thaw(patience) {
      child.stdin?.end();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<'late'>((resolve) => {
        timer = setTimeout(resolve, patience, 'late');
      });
      const code = await Promise.race([ended, late]);
      clearTimeout(timer);
      return code === 0 ? 'thawed' : code === 'late' ? 'still trying' : 'unknown';
    },
  };
}

async function isReady(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  const said = new Promise<true>((resolve) => child.stdout?.once('data', () => resolve(true)));
  if ((await Promise.race([said, ended])) !== true) {
    throw new CoppiceError(
      'io_error',
      'the process that thaws the guest whatever happens could not be started; nothing was frozen.',
    );
  }
  child.stdout?.destroy();
}
