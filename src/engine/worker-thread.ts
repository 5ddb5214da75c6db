import { Worker } from 'node:worker_threads';
import { CoppiceError } from '../model/errors.ts';
import type { Attribution } from './audit.ts';
import type { PoolHandle } from './context.ts';
import type { Control } from './control.ts';
import type { OperationName } from './operations.ts';
import { bell, Ring, ringBuffer } from './ring.ts';
import type { MessageToWorker, WorkerFailure, WorkerMessage, WorkerRequest, WorkerSetup } from './worker.ts';

/** An operation that somebody waits for. */
export interface Task {
  readonly name: OperationName;
  readonly args: readonly unknown[];
  readonly control: Control | undefined;
  readonly andCommit?: boolean | undefined;
  readonly by?: Attribution | undefined;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export interface WorkerThreadEvents {
  /** Something was answered, or the thread has ended: there may be room for more. */
  readonly onFree?: () => void;
  /** How long an operation took inside the thread. */
  readonly onTime?: (name: OperationName, milliseconds: number) => void;
}

/** The main thread's end of a worker thread. It does not keep the process alive unless it has work. */
export class WorkerThread {
  readonly #worker: Worker;
  readonly #requests: Ring;
  readonly #answers: Ring;
  readonly #tasks = new Map<number, Task>();
  /** How to stop watching the signals of tasks that can be cancelled. */
  readonly #watches = new Map<number, () => void>();
  readonly #events: WorkerThreadEvents;
  #outbox: Array<{ readonly id: number; readonly text: string }> = [];
  #next = 0;
  #isWatched = false;
  isEnded = false;

  constructor(handle: PoolHandle, events: WorkerThreadEvents = {}) {
    this.#events = events;
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const setup: WorkerSetup = { handle, requests: ringBuffer(), answers: ringBuffer() };
    this.#requests = new Ring(setup.requests);
    this.#answers = new Ring(setup.answers);
    this.#worker = new Worker(new URL(`./worker.${extension}`, import.meta.url), {
      workerData: setup,
      // Node would print a warning for each descriptor that it closes without having opened it: all that openat2 gave.
      trackUnmanagedFds: false,
    });
    this.#worker.unref();
    this.#worker.on('message', (text: string) => {
      this.#receiveAll(text);
      if (!this.#isWatched) this.rest();
    });
    this.#worker.on('error', (error) => this.#end(threadFailure(error)));
    this.#worker.on('exit', () =>
      this.#end(new CoppiceError('cancelled', 'The pool was closed while the operation was under way.')),
    );
  }

  /** How many tasks it has been given and not answered. */
  get load(): number {
    return this.#tasks.size;
  }

  /** Gives it a task, which goes out with the next `send`. */
  give(task: Task): void {
    const id = this.#next++;
    try {
      this.#outbox.push({
        id,
        text: encodeRequest(requestOf(id, task)),
      });
      this.#tasks.set(id, task);
    } catch (error) {
      task.reject(error);
    }
  }

  /** Sends what it has been given since the last time, in one message. */
  send(): void {
    if (this.#outbox.length === 0) return;
    this.#worker.ref();
    const text = `[${this.#outbox.map((request) => request.text).join()}]`;
    const state = this.#requests.write(text);
    if (state !== 'awake') this.#worker.postMessage(state === 'full' ? text : bell);
    for (const { id } of this.#outbox) this.#watch(id);
    this.#outbox = [];
  }

  /** Takes what it has answered. It need not wake this thread, which will call this again, or `rest`. */
  watch(): void {
    this.#isWatched = true;
    this.#answers.stayAwake();
    this.#receiveAll();
  }

  /** Takes what it has answered. From now on it wakes this thread. */
  rest(): void {
    this.#isWatched = false;
    do this.#receiveAll();
    while (!this.#answers.sleep());
  }

  close(): Promise<void> {
    if (this.isEnded) return Promise.resolve();
    return new Promise((resolve) => {
      this.#worker.once('exit', () => resolve());
      this.#worker.ref();
      this.#post('close');
    });
  }

  /** @param first came through the port */
  #receiveAll(first: string = bell): void {
    const before = this.load;
    if (first !== bell) this.#receive(first);
    for (let text = this.#answers.read(); text !== undefined; text = this.#answers.read())
      this.#receive(text);
    if (this.load === before) return;
    if (this.load === 0) this.#worker.unref();
    this.#events.onFree?.();
  }

  #receive(text: string): void {
    const message = JSON.parse(text) as WorkerMessage;
    if ('progress' in message) {
      this.#tasks.get(message.id)?.control?.report(message.progress);
      return;
    }
    const [id, microseconds, result, failure] = message;
    const task = this.#tasks.get(id);
    if (!task) return;
    this.#forget(id);
    this.#events.onTime?.(task.name, microseconds / 1000);
    if (failure) task.reject(revive(failure));
    else task.resolve(result);
  }

  #watch(id: number): void {
    const signal = this.#tasks.get(id)?.control?.signal;
    if (!signal) return;
    const cancel = (): void => this.#post({ cancel: id });
    if (signal.aborted) cancel();
    signal.addEventListener('abort', cancel);
    this.#watches.set(id, () => signal.removeEventListener('abort', cancel));
  }

  #forget(id: number): void {
    this.#tasks.delete(id);
    this.#watches.get(id)?.();
    this.#watches.delete(id);
  }

  #post(message: MessageToWorker): void {
    this.#worker.postMessage(JSON.stringify(message));
  }

  #end(error: CoppiceError): void {
    this.#receiveAll();
    this.isEnded = true;
    for (const [id, task] of this.#tasks) {
      this.#forget(id);
      task.reject(error);
    }
    this.#events.onFree?.();
  }
}

/** What is not needed is left out: it goes to and fro with every operation. */
function requestOf(id: number, { name, args, andCommit = false, by }: Task): WorkerRequest {
  if (by) return [id, name, args, andCommit, by];
  return andCommit ? [id, name, args, true] : [id, name, args];
}

/** @throws CoppiceError when a caller without types gave a BigInt, or an object that contains itself */
function encodeRequest(request: WorkerRequest): string {
  try {
    return JSON.stringify(request);
  } catch (error) {
    const [, name] = request;
    throw new CoppiceError(
      'invalid_argument',
      `Could not ${name}: an argument is no plain value; give strings, and sizes as numbers.`,
      { cause: error },
    );
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

function revive(failure: WorkerFailure): Error {
  const cause = failure.cause === undefined ? undefined : new Error(failure.cause);
  if (failure.known)
    return new CoppiceError(failure.known.code, failure.known.message, { ...failure.known, cause });
  const error = new Error(failure.message, { cause });
  if (failure.stack !== undefined) error.stack = failure.stack;
  return error;
}
