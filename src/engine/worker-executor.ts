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
} from './operations.ts';
import type { WorkerFailure, WorkerMessage } from './worker.ts';

/** Messages that wait inside a thread while it works, so that it need not wait for the next one to cross (69 us). */
const depth = 2;

/**
 * Runs operations in worker threads. Short ones share a few threads, made when they are needed; a commit and each long one has a
 * thread of its own, so that nothing short waits behind them. Idle threads don't keep the process alive.
 */
export function workerExecutor(handle: PoolHandle): Executor {
  const threads: Thread[] = [];
  const waiting: Task[] = [];
  const largest = Math.max(2, Math.min(8, availableParallelism()));
  let commits: Thread | undefined;

  const pump = (): void => {
    while (waiting.length > 0) {
      let thread = leastBusy(threads);
      if ((!thread || thread.load > 0) && threads.length < largest) {
        thread = new Thread(handle, pump);
        threads.push(thread);
      }
      if (!thread || thread.load >= depth) return;
      const task = waiting.shift();
      if (task) thread.give(task);
    }
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
          commits ??= new Thread(handle, () => {});
          commits.give(task);
        } else if (longOperations.has(name)) {
          const own: Thread = new Thread(handle, () => void own.close());
          own.give(task);
        } else {
          waiting.push(task);
          pump();
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
  #next = 0;

  constructor(handle: PoolHandle, onFree: () => void) {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#worker = new Worker(new URL(`./worker.${extension}`, import.meta.url), {
      workerData: handle,
      // Node would print a warning for each descriptor that it closes without having opened it: all that openat2 gave.
      trackUnmanagedFds: false,
    });
    this.#worker.unref();
    this.#worker.on('message', (message: WorkerMessage) => {
      const task = this.#tasks.get(message.id);
      if (!task) return;
      if ('progress' in message) {
        task.control?.report(message.progress);
        return;
      }
      this.#tasks.delete(message.id);
      if (this.#tasks.size === 0) this.#worker.unref();
      if ('error' in message) task.reject(revive(message.error));
      else task.resolve(message.result);
      onFree();
    });
    const fail = (error: unknown): void => {
      for (const task of this.#tasks.values()) task.reject(error);
      this.#tasks.clear();
    };
    this.#worker.on('error', fail);
    this.#worker.on('exit', () =>
      fail(new CoppiceError('cancelled', 'The pool was closed while the operation was under way.')),
    );
  }

  get load(): number {
    return this.#tasks.size;
  }

  give(task: Task): void {
    const id = this.#next++;
    this.#tasks.set(id, task);
    this.#worker.ref();
    this.#worker.postMessage({ id, name: task.name, args: task.args });
    const signal = task.control?.signal;
    if (signal?.aborted) this.#worker.postMessage({ cancel: id });
    else signal?.addEventListener('abort', () => this.#worker.postMessage({ cancel: id }), { once: true });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#worker.once('exit', () => resolve());
      this.#worker.ref();
      this.#worker.postMessage('close');
    });
  }
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
