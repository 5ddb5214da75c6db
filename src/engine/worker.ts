// Imported here, as `Buffer` is where each clone needs it: the globals are getters, which run each time.
import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';
import { runLikeOthers } from '../linux/priority.ts';
import { CoppiceError, type ErrorData } from '../model/errors.ts';
import type { Attribution } from './audit.ts';
import { createContext, type PoolHandle } from './context.ts';
import type { Control, OperationProgress } from './control.ts';
import { perform } from './executor.ts';
import {
  countingOperations,
  longOperations,
  type OperationArguments,
  type OperationName,
  quickOperations,
} from './operations.ts';
import { bell, Ring } from './ring.ts';

/**
 * A thread that runs whole operations, one after the other, so that the main thread is never blocked by the kernel. Messages are
 * JSON: what every operation takes and gives can be printed as JSON anyway, and text crosses threads in half the time of objects.
 * Those that go to and fro with every operation are lists, which are read faster than fields with names.
 */

export type WorkerRequest = readonly [
  id: number,
  name: OperationName,
  args: readonly unknown[],
  andCommit?: boolean,
  by?: Attribution,
];

/** What comes through the port: an order to cancel the long operation of that id, the order to end, or what the ring had no room for. */
export type MessageToWorker = readonly WorkerRequest[] | { readonly cancel: number } | 'close';

/** What a thread needs to begin with. Requests and answers go through rings; the port tells one who sleeps to look. */
export interface WorkerSetup {
  readonly handle: PoolHandle;
  readonly requests: SharedArrayBuffer;
  readonly answers: SharedArrayBuffer;
}

export type WorkerMessage = WorkerAnswer | { readonly id: number; readonly progress: OperationProgress };

/** `microseconds`: how long it took, without waiting for its turn. Where there is no result, JSON makes it null. */
export type WorkerAnswer = readonly [id: number, microseconds: number, ...outcome: Outcome];

type Outcome = readonly [result: unknown] | readonly [result: null, failure: WorkerFailure];

export interface WorkerFailure {
  readonly known: ErrorData | undefined;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause: string | undefined;
}

/** Milliseconds for which a lock is kept that others may want, and then for one more operation. */
const longestTurn = 2;

/** Milliseconds for which a thread that has nothing to do looks for more before it naps, and before it sleeps. */
const longestLook = 0.2;
const longestWatch = 3;

/** Milliseconds of a nap, which ends by itself: nobody has to wake this thread, which takes the one who does it longer than a clone. */
const nap = 0.1;

const port = parentPort;
if (port) {
  runLikeOthers();
  const setup = workerData as WorkerSetup;
  const context = createContext(setup.handle, false);
  const cancellation = new Map<number, AbortController>();
  const [requests, answers] = [new Ring(setup.requests), new Ring(setup.answers)];
  const queue: WorkerRequest[] = [];
  const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));
  let isServing = false;
  let wasQuick = false;

  const receive = (message: MessageToWorker): void => {
    if (message === 'close') {
      context[Symbol.dispose]();
      port.close();
    } else if ('cancel' in message) cancellation.get(message.cancel)?.abort();
    else queue.push(...message);
  };
  const send = (message: WorkerMessage): void => {
    const text = JSON.stringify(message);
    const state = answers.write(text);
    if (state !== 'awake') port.postMessage(state === 'full' ? text : bell);
  };
  port.on('message', (text: string) => {
    if (text !== bell) receive(JSON.parse(text) as MessageToWorker);
    if (!isServing) void serveAll();
  });

  const serveAll = async (): Promise<void> => {
    isServing = true;
    let turn = performance.now();
    for (let request = waitForNext(); request; ) {
      const [id, name, , andCommit] = request;
      const began = performance.now();
      const outcome = serve(request);
      const [result, failed] = outcome instanceof Promise ? await outcome : outcome;
      const ended = performance.now();
      const failure = failed ?? (andCommit ? commit() : undefined);
      wasQuick = quickOperations.has(name);
      const following = nextIfAny();
      // Before the answer: who has been told that all clones are made finds nothing held.
      if (!following || ended - turn >= longestTurn) {
        context.turn.end();
        turn = ended;
      }
      const microseconds = Math.round((ended - began) * 1000);
      send(failure ? [id, microseconds, null, failure] : [id, microseconds, result]);
      request = following ?? waitForNext();
    }
    isServing = false;
  };

  /** The next request, waited for a moment; undefined when none comes: then the bell will ring for the next one. */
  const waitForNext = (): WorkerRequest | undefined => {
    const since = performance.now();
    for (;;) {
      const request = nextIfAny();
      if (request) return request;
      const watched = wasQuick ? performance.now() - since : longestWatch;
      if (watched < longestLook) continue;
      if (watched < longestWatch) Atomics.wait(nobodyWakes, 0, 0, nap);
      else if (requests.sleep()) return undefined;
    }
  };

  const nextIfAny = (): WorkerRequest | undefined => {
    if (queue.length === 0) {
      const text = requests.read();
      if (text !== undefined) queue.push(...(JSON.parse(text) as WorkerRequest[]));
    }
    return queue.shift();
  };

  const serve = ([id, name, args, , by]: WorkerRequest): Outcome | Promise<Outcome> => {
    try {
      const control = longOperations.has(name)
        ? controlOf(id)
        : countingOperations.has(name)
          ? { signal: undefined, report: reporter(id) }
          : undefined;
      const result = perform(context, name, args as OperationArguments<typeof name>, control, by);
      if (!(result instanceof Promise)) return [result];
      const settled = result.then((value): Outcome => [value], failed);
      return settled.finally(() => cancellation.delete(id));
    } catch (error) {
      return failed(error);
    }
  };

  const commit = (): WorkerFailure | undefined => {
    const [, failure] = serve([0, 'commit', []]) as Outcome;
    return failure;
  };

  const controlOf = (id: number): Control => {
    const controller = new AbortController();
    cancellation.set(id, controller);
    return { signal: controller.signal, report: reporter(id) };
  };

  const reporter =
    (id: number): Control['report'] =>
    (progress) =>
      send({ id, progress });
}

function failed(error: unknown): Outcome {
  const known = error instanceof CoppiceError ? error.toJSON() : undefined;
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error));
  const why = cause instanceof Error ? cause.message : undefined;
  return [null, { known, message, stack, cause: why }];
}
