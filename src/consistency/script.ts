import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CoppiceError } from '../model/errors.ts';

export interface Script {
  readonly child: ChildProcess;
  /** Its exit code; null when a signal ended it, or it was never there. */
  readonly ended: Promise<number | null>;
}

/**
 * Starts one of our own scripts as a process that outlives us: in a group of its own, so that what is sent to ours, as by Ctrl-C, does
 * not end it too. Standard input and output are pipes.
 * @param name of a module of this directory; the build puts each beside the bundles
 * @param descriptors the script gets these as 3, 4, and so on
 * @param beside the module that it lies beside
 */
export function startScript(
  name: string,
  args: readonly string[],
  descriptors: NonNullable<Exclude<SpawnOptions['stdio'], string>> = [],
  beside: string = import.meta.url,
): Script {
  const extension = beside.endsWith('.ts') ? 'ts' : 'js';
  const script = new URL(`./${name}.${extension}`, beside);
  const child = spawn(process.execPath, [fileURLToPath(script), ...args], {
    stdio: ['pipe', 'pipe', 'ignore', ...descriptors],
    env: {},
    cwd: '/',
    detached: true,
  });
  const ended = new Promise<number | null>((resolve) => {
    child.on('exit', resolve);
    child.on('error', () => resolve(null));
  });
  child.stdin?.on('error', () => undefined);
  return { child, ended };
}

/**
 * Waits until a script that thaws has said that it is there.
 * @param what it thaws, for the sentence
 * @throws CoppiceError io_error when it ends before
 */
export async function isReady({ child, ended }: Script, what: string): Promise<void> {
  const said = new Promise<true>((resolve) => child.stdout?.once('data', () => resolve(true)));
  if ((await Promise.race([said, ended])) === true) return;
  throw new CoppiceError(
    'io_error',
    `the process that thaws ${what} whatever happens could not be started; nothing was frozen.`,
  );
}

/** What a script says, in lines of JSON. */
export class Lines<T> {
  readonly #waiting: T[] = [];
  #text = '';
  #isOver = false;
  #wake: () => void = () => undefined;

  constructor({ child }: Script) {
    child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (this.#text + chunk).split('\n');
      this.#text = lines.pop() ?? '';
      this.#waiting.push(...lines.map((line) => JSON.parse(line) as T));
      this.#wake();
    });
    child.stdout?.on('close', () => {
      this.#isOver = true;
      this.#wake();
    });
  }

  /** Undefined when nothing more will come. @throws what the signal says */
  async next(signal?: AbortSignal): Promise<T | undefined> {
    const wake = (): void => this.#wake();
    signal?.addEventListener('abort', wake);
    try {
      for (;;) {
        signal?.throwIfAborted();
        const next = this.#waiting.shift();
        if (next !== undefined || this.#isOver) return next;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      signal?.removeEventListener('abort', wake);
    }
  }
}
