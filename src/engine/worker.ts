import { parentPort, workerData } from 'node:worker_threads';
import { CoppiceError, type ErrorData } from '../model/errors.ts';
import { createContext, type PoolHandle } from './context.ts';
import type { Control, OperationProgress } from './control.ts';
import { perform } from './executor.ts';
import { longOperations, type OperationArguments, type OperationName } from './operations.ts';

/** A thread that runs one whole operation for each message, so that the main thread is never blocked by the kernel. */

export interface WorkerRequest {
  readonly id: number;
  readonly name: OperationName;
  readonly args: readonly unknown[];
}

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
  port.on('message', (message: WorkerRequest | { readonly cancel: number } | 'close') => {
    if (message === 'close') {
      context[Symbol.dispose]();
      port.close();
    } else if ('cancel' in message) cancellation.get(message.cancel)?.abort();
    else void serve(message);
  });

  const serve = async ({ id, name, args }: WorkerRequest): Promise<void> => {
    try {
      const control = longOperations.has(name) ? controlOf(id) : undefined;
      const result = await perform(context, name, args as OperationArguments<typeof name>, control);
      port.postMessage({ id, result } satisfies WorkerMessage);
    } catch (error) {
      port.postMessage({ id, error: asFailure(error) } satisfies WorkerMessage);
    } finally {
      cancellation.delete(id);
    }
  };

  const controlOf = (id: number): Control => {
    const controller = new AbortController();
    cancellation.set(id, controller);
    return { signal: controller.signal, report: (progress) => port.postMessage({ id, progress }) };
  };
}

function asFailure(error: unknown): WorkerFailure {
  const known = error instanceof CoppiceError ? error.toJSON() : undefined;
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error));
  return { known, message, stack, cause: cause instanceof Error ? cause.message : undefined };
}
