import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { readMounts } from '../../src/linux/mounts.ts';
import { lastLine, runProgram } from '../../src/linux/programs.ts';
import { hasErrno } from '../../src/linux/system-calls.ts';
import { runDirectory } from '../../test/support/run-directory.ts';

/** LXD needs a moment for its database; on a busy machine more than that. */
const longestStart = 60_000;
const longestStop = 20_000;

interface Answer {
  readonly type: 'sync' | 'async' | 'error';
  readonly error?: string;
  /** Where an operation that goes on can be waited for. */
  readonly operation?: string;
  readonly metadata: unknown;
}

/**
 * A daemon of LXD for one measure: started without systemd, in a directory of this run, and spoken to over its socket through
 * connections that stay open, one for each request at once. With it go its mounts, and its pools' loop devices with those.
 */
export class Lxd implements AsyncDisposable {
  readonly directory: string;
  readonly #process: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 16 });
  readonly #killAtExit = (): void => killAndWait(this.#process);

  private constructor(directory: string) {
    this.directory = directory;
    const log = openSync(this.#log, 'w');
    try {
      // When this process is killed, the daemon is too.
      const command = ['--pdeathsig', 'KILL', 'lxd', '--group', 'root'];
      const env = { ...process.env, LXD_DIR: directory };
      this.#process = spawn('setpriv', command, { env, stdio: ['ignore', log, log] });
    } finally {
      closeSync(log);
    }
    this.#ended = once(this.#process, 'close').catch(() => {});
    // Before the run's directory is removed, which it uses.
    process.prependListener('exit', this.#killAtExit);
  }

  static async start(): Promise<Lxd> {
    const directory = join(runDirectory(), 'lxd');
    mkdirSync(directory);
    const lxd = new Lxd(directory);
    try {
      await lxd.#untilReady();
      return lxd;
    } catch (error) {
      await lxd[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** One request and its answer. @throws Error with LXD's own words */
  async get(path: string): Promise<unknown> {
    return (await this.#ask('GET', path)).metadata;
  }

  /** A request that changes something, and what it has begun waited for to the end. */
  async change(method: 'POST' | 'PUT' | 'DELETE', path: string, body: unknown): Promise<void> {
    const answer = await this.#ask(method, path, body);
    if (answer.type !== 'async' || answer.operation === undefined) return;
    const { metadata } = await this.#ask('GET', `${answer.operation}/wait`);
    const { status, err } = metadata as { readonly status: string; readonly err: string };
    if (status !== 'Success') throw new Error(`LXD could not ${method} ${path}: ${err || status}.`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    this.#process.kill('SIGTERM');
    const isStopped = Promise.race([this.#ended.then(() => true), pause(longestStop, false, { ref: false })]);
    if (!(await isStopped)) killAndWait(this.#process);
    process.off('exit', this.#killAtExit);
    const mounts = readMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${this.directory}/`));
    for (const { mountPoint } of mounts.reverse()) runProgram('umount', ['--', mountPoint]);
  }

  get #log(): string {
    return `${this.directory}.log`;
  }

  async #untilReady(): Promise<void> {
    const until = performance.now() + longestStart;
    const socket = join(this.directory, 'unix.socket');
    for (;;) {
      if (this.#process.exitCode !== null || this.#process.pid === undefined || performance.now() > until) {
        const said = lastLine(readFileSync(this.#log, 'utf8')) || 'it said nothing';
        throw new Error(`LXD did not start: ${said}.`);
      }
      try {
        if (existsSync(socket)) {
          await this.get('/1.0');
          return;
        }
      } catch (error) {
        if (!hasErrno(error, 'ECONNREFUSED', 'ENOENT', 'ECONNRESET')) throw error;
      }
      await pause(50);
    }
  }

  #ask(method: string, path: string, body?: unknown): Promise<Answer> {
    const text = body === undefined ? '' : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
      const socketPath = join(this.directory, 'unix.socket');
      const sent = request({ socketPath, agent: this.#agent, method, path, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const answer = JSON.parse(Buffer.concat(chunks).toString()) as Answer;
          if (answer.type !== 'error') resolve(answer);
          else reject(new Error(`LXD refused ${method} ${path}: ${answer.error}.`));
        });
      });
      sent.on('error', reject);
      sent.end(text);
    });
  }
}

/** For the end of this process, when nothing can be awaited any more: returns when the daemon holds nothing. */
function killAndWait({ pid, exitCode, signalCode }: ChildProcess): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  process.kill(pid, 'SIGKILL');
  const clock = new Int32Array(new SharedArrayBuffer(4));
  for (let naps = 0; naps < 500 && !isDead(pid); naps++) Atomics.wait(clock, 0, 0, 10);
}

/** What has been killed stays in the table of processes until its parent, which waits here, has heard of it. */
function isDead(pid: number): boolean {
  try {
    return /\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return true;
    throw error;
  }
}
