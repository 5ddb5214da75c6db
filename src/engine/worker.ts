import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { CoppiceError, type ErrorData } from '../model/errors.ts';
import { createContext, type PoolHandle } from './context.ts';
import type { Control, OperationProgress } from './control.ts';
import { perform } from './executor.ts';
import { longOperations, type OperationArguments, type OperationName } from './operations.ts';

/** A thread that runs whole operations, one after the other, so that the main thread is never blocked by the kernel. */

export interface WorkerRequest {
  readonly id: number;
  readonly name: OperationName;
  readonly args: readonly unknown[];
}

/** Requests, an order to cancel the long operation of that id, or the order to end. */
export type MessageToWorker = readonly WorkerRequest[] | { readonly cancel: number } | 'close';

/** A thread answers with a list of these. */
export type WorkerMessage = WorkerAnswer | { readonly id: number; readonly progress: OperationProgress };

/** `milliseconds`: how long it took, without waiting for its turn. */
export type WorkerAnswer = { readonly id: number; readonly milliseconds: number } & (
  | { readonly result: unknown }
  | { readonly error: WorkerFailure }
);

export interface WorkerFailure {
  readonly known: ErrorData | undefined;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause: string | undefined;
}

/** About as many clones are made in the time between sending answers and receiving what they set going. */
const requestsOfRoundTrip = 2;

const port = parentPort;
if (port) {
  const context = createContext(workerData as PoolHandle, false);
  const cancellation = new Map<number, AbortController>();
  const receive = (message: MessageToWorker): void => {
    if (message === 'close') {
      context[Symbol.dispose]();
      port.close();
    } else if ('cancel' in message) cancellation.get(message.cancel)?.abort();
    else void serveAll(message);
  };
  port.on('message', receive);

  /**
   * Sends answers together, so that the main thread is woken less often, but while there is still work for as long as its next
   * requests take to come. No answer is held back for more than a millisecond, and
   * then for one more operation.
   */
  const serveAll = async (requests: readonly WorkerRequest[]): Promise<void> => {
    const queue = [...requests];
    let order: MessageToWorker | undefined;
    let answers: WorkerAnswer[] = [];
    let sent = performance.now();
    for (let request = queue.shift(); request; request = queue.shift()) {
      answers.push(await serve(request));
      if (queue.length <= requestsOfRoundTrip && order === undefined) {
        const next = receiveMessageOnPort(port)?.message as MessageToWorker | undefined;
        if (isRequests(next)) queue.push(...next);
        else order = next;
      }
      if (queue.length <= requestsOfRoundTrip || performance.now() - sent > 2) {
        port.postMessage(answers satisfies readonly WorkerMessage[]);
        answers = [];
        sent = performance.now();
      }
    }
    if (order !== undefined) receive(order);
  };

  const serve = async ({ id, name, args }: WorkerRequest): Promise<WorkerAnswer> => {
    const began = performance.now();
    const milliseconds = (): number => performance.now() - began;
    try {
      const control = longOperations.has(name) ? controlOf(id) : undefined;
      const result = await perform(context, name, args as OperationArguments<typeof name>, control);
      return { id, result, milliseconds: milliseconds() };
    } catch (error) {
      return { id, error: asFailure(error), milliseconds: milliseconds() };
    } finally {
      cancellation.delete(id);
    }
  };

  const controlOf = (id: number): Control => {
    const controller = new AbortController();
    cancellation.set(id, controller);
    return { signal: controller.signal, report: (progress) => port.postMessage([{ id, progress }]) };
  };
}

function isRequests(message: MessageToWorker | undefined): message is readonly WorkerRequest[] {
  return Array.isArray(message);
}

function asFailure(error: unknown): WorkerFailure {
  const known = error instanceof CoppiceError ? error.toJSON() : undefined;
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error));
  return { known, message, stack, cause: cause instanceof Error ? cause.message : undefined };
}
