import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { requireOwn } from '../../linux/trusted-path.ts';
import { CoppiceError } from '../../model/errors.ts';
import { ensureDirectory } from '../own-directory.ts';
import type { StateMessage, StateTask, StoredJob, StoredRequest } from './state-worker.ts';

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (failure: unknown) => void;
}

/** What the server remembers over a restart, in one file. What returns survives a power cut. */
export class State implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #directory: string;
  #next = 0;
  #ended: Error | undefined;

  /**
   * @param directory of its own; made when it is not there
   * @throws CoppiceError invalid_argument when others could write to it
   */
  constructor(directory: string) {
    ensureDirectory(resolve(directory), 0o700, 'the directory for state');
    // What lies in it is opened by its name, as SQLite does.
    requireOwn(resolve(directory), 'the directory for state');
    this.#directory = directory;
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#worker = new Worker(new URL(`./state-worker.${extension}`, import.meta.url), {
      workerData: join(directory, 'state.db'),
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    });
    this.#worker.on('message', (message: StateMessage) => {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if ('failure' in message) waiting?.reject(this.#explain(message.failure));
      else waiting?.resolve(message.result);
    });
    this.#worker.on('error', (error: Error) => this.#end(error));
    this.#worker.on('exit', () => this.#end(new Error('the thread has ended')));
  }

  /** Remembers that a request has begun. Returns what is known of it, when it is not the first of its key. */
  begin(key: string, fingerprint: string): Promise<StoredRequest | undefined> {
    return this.#ask({ task: 'begin', key, fingerprint, now: Date.now() });
  }

  note(key: string, note: string): Promise<void> {
    return this.#ask({ task: 'note', key, note });
  }

  /** @param boot in which it was given */
  answer(key: string, answer: Uint8Array, boot: string): Promise<void> {
    return this.#ask({ task: 'answer', key, answer, boot, now: Date.now() });
  }

  forget(key: string): Promise<void> {
    return this.#ask({ task: 'forget', key });
  }

  saveJob(job: StoredJob): Promise<void> {
    return this.#ask({ task: 'saveJob', job });
  }

  /** The oldest first. */
  jobs(): Promise<StoredJob[]> {
    return this.#ask({ task: 'jobs' });
  }

  /**
   * Drops what ended before a time, in milliseconds since 1970, and answers that are too many. In portions: others come in between.
   * @returns the ids of jobs that were dropped
   */
  async expire(before: number): Promise<string[]> {
    while (await this.#ask<boolean>({ task: 'expireRequests', before }));
    return this.#ask({ task: 'expireJobs', before });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    const ended = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    this.#worker.postMessage('close');
    await ended;
  }

  #ask<T>(task: StateTask): Promise<T> {
    if (this.#ended) return Promise.reject(this.#explain(this.#ended));
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as Waiting['resolve'], reject });
      this.#worker.postMessage({ id, ...task });
    });
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#explain(this.#ended));
    this.#waiting.clear();
  }

  #explain(cause: Error): CoppiceError {
    const isFull = /full/.test(cause.message);
    const remedy = /locked/.test(cause.message)
      ? 'another server uses it: give each a directory of its own with --state'
      : isFull
        ? 'its disk is full: free space there; reads, and changes without a request id, go on'
        : cause.message;
    return new CoppiceError(
      isFull ? 'no_space' : 'io_error',
      `The state of the server in ${this.#directory} can't be used: ${remedy}.`,
      { cause },
    );
  }
}
