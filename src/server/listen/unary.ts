import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { DescMethodUnary, Message } from '@bufbuild/protobuf';
import { createContextValues, type HandlerContext } from '@connectrpc/connect';
import { type Caller, callerKey } from '../auth/caller.ts';

/** What answering calls with one request and one answer needs, whatever form they have. */

export interface UnaryMethod {
  readonly method: DescMethodUnary;
  readonly implementation: (request: Message, context: HandlerContext) => Promise<Message> | Message;
}

export interface UnarySetup {
  /** By path. */
  readonly methods: ReadonlyMap<string, UnaryMethod>;
  /** The largest request, in bytes. */
  readonly mostBytes: (method: DescMethodUnary) => number;
  /** By which the logs tell it from others, also when it is refused. */
  readonly requestIdOf: (request: IncomingMessage | Http2ServerRequest) => string;
  /** @throws ConnectError for whoever may not */
  readonly admit: (
    request: IncomingMessage | Http2ServerRequest,
    method: DescMethodUnary,
    requestId: string,
  ) => Caller;
  /** Has everything done that belongs to a call around its implementation. @throws ConnectError */
  readonly around: <T>(
    method: DescMethodUnary,
    message: Message,
    caller: Caller,
    run: () => Promise<T>,
  ) => Promise<T>;
}

/** What few methods need is made when they ask for it. */
export function contextOf(
  request: IncomingMessage | Http2ServerRequest,
  method: DescMethodUnary,
  caller: Caller,
  protocolName: 'grpc' | 'connect',
): HandlerContext {
  let signal: AbortSignal | undefined;
  let requestHeader: Headers | undefined;
  return {
    service: method.parent,
    method,
    requestMethod: 'POST',
    protocolName,
    url: request.url ?? '',
    values: createContextValues().set(callerKey, caller),
    responseHeader: nowhere,
    responseTrailer: nowhere,
    timeoutMs: () => undefined,
    get requestHeader() {
      requestHeader ??= new Headers(
        Object.entries(request.headers).flatMap(([name, value]) =>
          name.startsWith(':') || typeof value !== 'string' ? [] : [[name, value] as [string, string]],
        ),
      );
      return requestHeader;
    },
    get signal() {
      signal ??= signalOf('stream' in request ? request.stream : request.socket);
      return signal;
    },
  };
}

/** No method of ours sets headers. */
const nowhere = new Headers();

function signalOf(stream: Pick<Duplex, 'destroyed' | 'on'>): AbortSignal {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  if (stream.destroyed) abort();
  else stream.on('close', abort);
  return controller.signal;
}
