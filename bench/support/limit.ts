import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { runDirectory } from '../../test/support/run-directory.ts';
import type { BenchPool } from './pool.ts';

/** Compiles bench/limit.c, and returns its path. */
export function compileLimit(): string {
  const program = join(runDirectory(), 'limit');
  const source = join(import.meta.dirname, '..', 'limit.c');
  execFileSync('gcc', ['-O2', '-Wall', '-pthread', '-o', program, source]);
  return program;
}

/** What it clones: the template of a pool, in one thread. More threads do not make it faster: the file system has one queue. */
export function limitArguments({ driver, path, host }: BenchPool, templateId: string): string[] {
  return [driver, path, host, 'template', templateId, '1'];
}

/**
 * The C program, started once. Node starts programs by fork, after which every page that it writes to costs a page fault: 1.6 a
 * clone, when the program was started for each measure.
 */
export class Limit implements AsyncDisposable {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  constructor(program: string, args: readonly string[]) {
    this.#process = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#answers = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
    // Also when it could not be started; who waits for an answer then hears of its end.
    this.#ended = once(this.#process, 'close').catch(() => {});
    this.#process.stdin.on('error', () => {});
  }

  /** Has it make so many clones. Returns the seconds that they took. */
  async clone(prefix: string, many: number): Promise<number> {
    this.#process.stdin.write(`${prefix} ${many}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('bench/limit.c has ended before its time.');
    return Number(value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.stdin.end();
    await this.#ended;
  }
}
