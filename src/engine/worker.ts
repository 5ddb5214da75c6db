import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { CoppiceError, type ErrorData } from '../model/errors.ts';
import { createContext, type PoolHandle } from './context.ts';
import type { Control, OperationProgress } from './control.ts';
import { perform } from './executor.ts';
import { longOperations, type OperationArguments, type OperationName } from './operations.ts';

/**
 * A thread that runs whole operations, one after the other, so that the main thread is never blocked by the kernel. Messages are
 * JSON: what every operation takes and gives can be printed as JSON anyway, and text crosses threads in half the time of objects.
 */

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
const requestsOfRoundTrip = 4;

/** Milliseconds that an answer is held back, and a lock that others may want; and then for one more operation. */
const longestWait = 2;

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
  const send = (messages: readonly WorkerMessage[]): void => port.postMessage(JSON.stringify(messages));
  port.on('message', (text: string) => receive(parse(text)));

  /**
   * Sends answers together, which costs less than each by itself, but while there is still work for as long as its next requests
   * take to come. Until they come or all is done, it keeps what else it has to answer.
   */
  const serveAll = async (requests: readonly WorkerRequest[]): Promise<void> => {
    const queue = [...requests];
    let order: MessageToWorker | undefined;
    let answers: WorkerAnswer[] = [];
    let sent = performance.now();
    let turn = sent;
    let isAsked = false;
    for (let request = queue.shift(); request; request = queue.shift()) {
      const answer = serve(request);
      answers.push(answer instanceof Promise ? await answer : answer);
      if (queue.length <= requestsOfRoundTrip && order === undefined) {
        const received = receiveMessageOnPort(port);
        const next = received && parse(received.message as string);
        if (isRequests(next)) {
          queue.push(...next);
          isAsked = false;
        } else order = next;
      }
      const now = performance.now();
      if (queue.length === 0 || now - turn > longestWait) {
        context.turn.end();
        turn = now;
      }
      const isLow = queue.length <= requestsOfRoundTrip;
      if (queue.length === 0 || (isLow && !isAsked) || now - sent > longestWait) {
        isAsked = isLow;
        send(answers);
        answers = [];
        sent = now;
      }
    }
    if (order !== undefined) receive(order);
  };

  const serve = ({ id, name, args }: WorkerRequest): WorkerAnswer | Promise<WorkerAnswer> => {
    const began = performance.now();
    const done = (result: unknown): WorkerAnswer => ({ id, milliseconds: performance.now() - began, result });
    const failed = (error: unknown): WorkerAnswer => ({
      id,
      milliseconds: performance.now() - began,
      error: asFailure(error),
    });
    try {
      const control = longOperations.has(name) ? controlOf(id) : undefined;
      const result = perform(context, name, args as OperationArguments<typeof name>, control);
      if (!(result instanceof Promise)) return done(result);
      return result.then(done, failed).finally(() => cancellation.delete(id));
    } catch (error) {
      return failed(error);
    }
  };

  const controlOf = (id: number): Control => {
    const controller = new AbortController();
    cancellation.set(id, controller);
    return { signal: controller.signal, report: (progress) => send([{ id, progress }]) };
  };
}

function parse(text: string): MessageToWorker {
  return JSON.parse(text) as MessageToWorker;
}

function isRequests(message: MessageToWorker | undefined): message is readonly WorkerRequest[] {
  return Array.isArray(message);
}

function asFailure(error: unknown): WorkerFailure {
  const known = error instanceof CoppiceError ? error.toJSON() : undefined;
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error));
  return { known, message, stack, cause: cause instanceof Error ? cause.message : undefined };
}
