import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { runDirectory } from '../../test/support/run-directory.ts';
import type { LoadResult, LoadTask } from './daemon-load.ts';

export interface Clients {
  /** Has them do something. */
  ask(task: LoadTask): Promise<LoadResult>;
}

/** The built daemon for one measure. */
export class BenchDaemon implements AsyncDisposable {
  readonly #daemon: ChildProcess;
  readonly #clients: ChildProcess[] = [];
  readonly #socket: string;
  /** From its start until it listened, in milliseconds. */
  readonly startMilliseconds: number;

  private constructor(daemon: ChildProcess, socket: string, startMilliseconds: number) {
    this.#daemon = daemon;
    this.#socket = socket;
    this.startMilliseconds = startMilliseconds;
  }

  static async start(pool: string, name: string): Promise<BenchDaemon> {
    const directory = join(runDirectory(), `daemon-${name}`);
    mkdirSync(directory);
    const socket = join(directory, 'coppice.sock');
    const command = join(import.meta.dirname, '../../dist/cli.js');
    const state = ['--state', join(directory, 'state'), '--audit-log', join(directory, 'log', 'audit.jsonl')];
    const began = performance.now();
    const daemon = spawn(
      process.execPath,
      [command, 'serve', '--pool', `bench=${pool}`, '--socket', socket, ...state],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    killAtExit(daemon);
    let start = 0;
    await new Promise<void>((resolve, reject) => {
      let log = '';
      daemon.stderr?.setEncoding('utf8').on('data', (text: string) => {
        log += text;
        if (start === 0 && log.includes('"listening"')) start = performance.now() - began;
        if (log.includes('"pool available"')) resolve();
      });
      daemon.on('close', () => reject(new Error(`The daemon has ended: ${log}`)));
    });
    daemon.removeAllListeners('close');
    return new BenchDaemon(daemon, socket, start);
  }

  /** A process with clients, which ends with the daemon. */
  clients(): Clients {
    const child = fork(join(import.meta.dirname, 'daemon-load.ts'), [this.#socket]);
    killAtExit(child);
    this.#clients.push(child);
    return {
      async ask(task) {
        const settled = new AbortController();
        const options = { signal: settled.signal };
        const ended = once(child, 'exit', options).then(() =>
          Promise.reject(new Error('The clients of the daemon have ended.')),
        );
        try {
          child.send(task);
          const [result] = (await Promise.race([once(child, 'message', options), ended])) as [LoadResult];
          return result;
        } finally {
          ended.catch(() => {});
          settled.abort();
        }
      },
    };
  }

  /** Bytes of memory that the daemon has. */
  get residentBytes(): number {
    const [, kilobytes = ''] =
      /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.#daemon.pid}/status`, 'utf8')) ?? [];
    return Number(kilobytes) * 1024;
  }

  /** The longest time for which the event loop was held up since it was last asked, in milliseconds. */
  async longestDelay(): Promise<number> {
    const text = await this.#get('/metrics');
    const [, seconds = ''] = /^coppice_event_loop_delay_seconds\{quantile="1"\} (\S+)$/m.exec(text) ?? [];
    return Number(seconds) * 1000;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#clients) child.kill('SIGKILL');
    const ended = once(this.#daemon, 'close');
    this.#daemon.kill('SIGTERM');
    await ended;
  }

  #get(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      request({ socketPath: this.#socket, path, agent: false }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        answer.on('end', () => resolve(text));
      })
        .on('error', reject)
        .end();
    });
  }
}

const children = new Set<ChildProcess>();

/** Before the run's directory is removed, which they use. */
function killAtExit(child: ChildProcess): void {
  if (children.size === 0)
    process.prependListener('exit', () => {
      for (const each of children) each.kill('SIGKILL');
    });
  children.add(child);
}
