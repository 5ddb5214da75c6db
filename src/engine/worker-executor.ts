import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { CoppiceError } from '../model/errors.ts';
import type { PoolHandle } from './context.ts';
import type { Control } from './control.ts';
import type { Executor } from './executor.ts';
import {
  longOperations,
  type OperationArguments,
  type OperationName,
  type OperationResult,
  quickOperations,
} from './operations.ts';
import type { WorkerFailure, WorkerMessage, WorkerRequest } from './worker.ts';

/**
 * How many quick operations a thread is given at once, in one message that it answers with one: a message costs about as much
 * time in the two threads as a tenth of a clone. Anything else counts as so many, so that nothing waits in a thread behind it.
 */
const depth = 4;

/** The most threads for short operations: operations that wait for the disk in the kernel share its commits. */
const most = 8;

/**
 * Runs operations in worker threads. Short ones share a few threads, made when they are needed; a commit and each long one has a
 * thread of its own, so that nothing short waits behind them. Idle threads don't keep the process alive.
 */
export function workerExecutor(handle: PoolHandle): Executor {
  let threads: Thread[] = [];
  const waiting: Task[] = [];
  const usual = Math.max(2, Math.min(most, availableParallelism()));
  let commits: Thread | undefined;
  let pumping = false;

  const pump = (): void => {
    pumping = false;
    threads = threads.filter((thread) => !thread.isEnded);
    while (waiting.length > 0) {
      let thread = leastBusy(threads);
      const isFull = !thread || thread.load >= depth;
      if (threads.length < (isFull ? most : usual) && thread?.load !== 0) {
        thread = new Thread(handle, pumpSoon);
        threads.push(thread);
      }
      if (!thread || thread.load >= depth) break;
      const task = waiting.shift();
      if (task) thread.give(task);
    }
    for (const thread of threads) thread.send();
  };

  /** After everything that the present answers set going has asked for its next operation. */
  const pumpSoon = (): void => {
    if (pumping) return;
    pumping = true;
    process.nextTick(pump);
  };

  return {
    run<N extends OperationName>(
      name: N,
      args: OperationArguments<N>,
      control?: Control,
    ): Promise<OperationResult<N>> {
      return new Promise((resolve, reject) => {
        const task: Task = {
          name,
          args,
          control,
          resolve: (value) => resolve(value as OperationResult<N>),
          reject,
        };
        if (name === 'commit') {
          if (!commits || commits.isEnded) commits = new Thread(handle, () => {});
          commits.give(task);
          commits.send();
        } else if (longOperations.has(name)) {
          const own: Thread = new Thread(handle, () => void own.close());
          own.give(task);
          own.send();
        } else {
          waiting.push(task);
          pumpSoon();
        }
      });
    },
    async close() {
      await Promise.all([...threads, ...(commits ? [commits] : [])].map((thread) => thread.close()));
    },
  };
}

interface Task {
  readonly name: OperationName;
  readonly args: readonly unknown[];
  readonly control: Control | undefined;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

class Thread {
  readonly #worker: Worker;
  readonly #tasks = new Map<number, Task>();
  #outbox: WorkerRequest[] = [];
  #next = 0;
  /** What it has been given and not answered, in quick operations. */
  load = 0;
  isEnded = false;

  constructor(handle: PoolHandle, onFree: () => void) {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#worker = new Worker(new URL(`./worker.${extension}`, import.meta.url), {
      workerData: handle,
      // Node would print a warning for each descriptor that it closes without having opened it: all that openat2 gave.
      trackUnmanagedFds: false,
    });
    this.#worker.unref();
    this.#worker.on('message', (messages: readonly WorkerMessage[]) => {
      const before = this.#tasks.size;
      for (const message of messages) this.#receive(message);
      if (this.#tasks.size === 0) this.#worker.unref();
      if (this.#tasks.size < before) onFree();
    });
    const end = (error: CoppiceError): void => {
      this.isEnded = true;
      for (const task of this.#tasks.values()) task.reject(error);
      this.#tasks.clear();
      onFree();
    };
    this.#worker.on('error', (error) => end(threadFailure(error)));
    this.#worker.on('exit', () =>
      end(new CoppiceError('cancelled', 'The pool was closed while the operation was under way.')),
    );
  }

  #receive(message: WorkerMessage): void {
    const task = this.#tasks.get(message.id);
    if (!task) return;
    if ('progress' in message) {
      task.control?.report(message.progress);
      return;
    }
    this.#tasks.delete(message.id);
    this.load -= weight(task);
    if ('error' in message) task.reject(revive(message.error));
    else task.resolve(message.result);
  }

  give(task: Task): void {
    const id = this.#next++;
    this.#tasks.set(id, task);
    this.load += weight(task);
    this.#outbox.push({ id, name: task.name, args: task.args });
  }

  /** Sends what it has been given since the last time, in one message. */
  send(): void {
    if (this.#outbox.length === 0) return;
    this.#worker.ref();
    this.#worker.postMessage(this.#outbox);
    for (const { id } of this.#outbox) this.#watch(id);
    this.#outbox = [];
  }

  #watch(id: number): void {
    const signal = this.#tasks.get(id)?.control?.signal;
    if (signal?.aborted) this.#worker.postMessage({ cancel: id });
    else signal?.addEventListener('abort', () => this.#worker.postMessage({ cancel: id }), { once: true });
  }

  close(): Promise<void> {
    if (this.isEnded) return Promise.resolve();
    return new Promise((resolve) => {
      this.#worker.once('exit', () => resolve());
      this.#worker.ref();
      this.#worker.postMessage('close');
    });
  }
}

function threadFailure(error: unknown): CoppiceError {
  const why = error instanceof Error ? error.message : String(error);
  return new CoppiceError(
    'io_error',
    `A thread of the pool has ended, and what it was doing may have happened or not: ${why}.`,
    { cause: error },
  );
}

function weight(task: Task): number {
  return quickOperations.has(task.name) ? 1 : depth;
}

function leastBusy(threads: readonly Thread[]): Thread | undefined {
  return threads.reduce<Thread | undefined>(
    (best, thread) => (!best || thread.load < best.load ? thread : best),
    undefined,
  );
}

function revive(failure: WorkerFailure): Error {
  const cause = failure.cause === undefined ? undefined : new Error(failure.cause);
  if (failure.known)
    return new CoppiceError(failure.known.code, failure.known.message, { ...failure.known, cause });
  const error = new Error(failure.message, { cause });
  if (failure.stack !== undefined) error.stack = failure.stack;
  return error;
}
