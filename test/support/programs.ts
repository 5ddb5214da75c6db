import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { join } from 'node:path';

export interface TestProgram extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  /** Waits for a text in what it says. */
  said(text: string): Promise<void>;
  /** All that it has said until now. */
  output(): string;
}

/** A program that runs until the end of the block, where it is killed, also when it is stopped. */
export function startProgram(
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): TestProgram {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  let output = '';
  let wake: () => void = () => undefined;
  const hear = (chunk: Buffer): void => {
    output += chunk;
    wake();
  };
  child.stdout?.on('data', hear);
  child.stderr?.on('data', hear);
  child.stdin?.on('error', () => undefined);
  const ended = new Promise<number | NodeJS.Signals | null>((resolve, reject) => {
    child.on('exit', (code, signal) => {
      resolve(code ?? signal);
      wake();
    });
    child.on('error', reject);
  });
  return {
    pid: child.pid ?? 0,
    child,
    ended,
    output: () => output,
    async said(text) {
      while (!output.includes(text)) {
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`it ended without having said "${text}": ${output}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
  };
}

/** One of the programs in this directory. */
export function startScript(name: string, args: readonly string[], options: SpawnOptions = {}): TestProgram {
  return startProgram(process.execPath, [join(import.meta.dirname, `${name}.ts`), ...args], options);
}
