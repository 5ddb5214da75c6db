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
export function limitArguments({ path, host }: BenchPool, templateId: string): string[] {
  return [path, host, 'template', templateId, '1'];
}

/**
 * The C program, started once: to start it for each measure would leave the process that does so with its memory shared with a
 * child, and every page that it writes to from then on costs a page fault (1.6 a clone).
 */
export class Limit implements AsyncDisposable {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;

  constructor(program: string, args: readonly string[]) {
    this.#process = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#answers = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
  }

  /** Has it make so many clones. Returns the seconds that they took. */
  async clone(prefix: string, many: number): Promise<number> {
    this.#process.stdin.write(`${prefix} ${many}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('bench/limit.c has ended before its time.');
    return Number(value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.stdin.end();
    await ended;
  }
}
