import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { CoppiceError, type ErrorData } from '../model/errors.ts';
import { createContext, type PoolHandle } from './context.ts';
import type { Control, OperationProgress } from './control.ts';
import { perform } from './executor.ts';
import {
  longOperations,
  type OperationArguments,
  type OperationName,
  quickOperations,
} from './operations.ts';

/** A thread that runs whole operations, one after the other, so that the main thread is never blocked by the kernel. */

export interface WorkerRequest {
  readonly id: number;
  readonly name: OperationName;
  readonly args: readonly unknown[];
}

/** Requests, an order to cancel the long operation of that id, or the order to end. */
export type MessageToWorker = readonly WorkerRequest[] | { readonly cancel: number } | 'close';

/** A thread answers with a list of these. */
export type WorkerMessage =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: WorkerFailure }
  | { readonly id: number; readonly progress: OperationProgress };

export interface WorkerFailure {
  readonly known: ErrorData | undefined;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause: string | undefined;
}

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
   * Answers together what is done within a millisecond, and takes what has come meanwhile along, so that the main thread is woken
   * less often and then has more to give at once. Nothing that is done waits for what may take long.
   */
  const serveAll = async (requests: readonly WorkerRequest[]): Promise<void> => {
    let answers: WorkerMessage[] = [];
    let since = performance.now();
    let next: MessageToWorker | undefined = requests;
    while (isRequests(next)) {
      for (const request of next) {
        if (answers.length > 0 && (performance.now() - since > 1 || !quickOperations.has(request.name))) {
          port.postMessage(answers);
          answers = [];
          since = performance.now();
        }
        answers.push(await serve(request));
      }
      next = receiveMessageOnPort(port)?.message as MessageToWorker | undefined;
    }
    port.postMessage(answers);
    if (next !== undefined) receive(next);
  };

  const serve = async ({ id, name, args }: WorkerRequest): Promise<WorkerMessage> => {
    try {
      const control = longOperations.has(name) ? controlOf(id) : undefined;
      return { id, result: await perform(context, name, args as OperationArguments<typeof name>, control) };
    } catch (error) {
      return { id, error: asFailure(error) };
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
