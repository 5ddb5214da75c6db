import { spawn } from 'node:child_process';
import { environment } from './programs.ts';

export interface Remover {
  /** Has it remove now what is still there. */
  finish(): Promise<void>;
}

/**
 * Starts a process that removes these paths, if they are there, as soon as this process has ended, however it ends. Only files and
 * empty directories go.
 */
export async function removeAtOurEnd(paths: readonly string[]): Promise<Remover> {
  // xargs(1) reads names until the end of its input, which is our end too, and starts nothing before.
  const child = spawn('xargs', ['-0', 'rm', '-d', '-f', '--'], {
    env: environment,
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // what is sent to our group, as by Ctrl-C, must not end it too
  });
  const ended = new Promise<void>((resolve) => {
    child.on('close', resolve);
    child.on('error', () => resolve()); // not installed: then nothing removes what a killed process leaves
  });
  child.stdin.on('error', () => undefined);
  await new Promise<void>((resolve) => {
    child.stdin.write(`${paths.join('\0')}\0`, () => resolve());
  });
  return {
    async finish() {
      child.stdin.end();
      await ended;
    },
  };
}
