import type {
  Http2ServerRequest,
  Http2ServerResponse,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
} from 'node:http2';
import { type DescMethodUnary, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { Code, type ConnectError } from '@connectrpc/connect';
import { setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import type { Caller } from '../auth/caller.ts';
import { refused, toConnectError } from '../failures.ts';
import { contextOf, type UnaryMethod, type UnarySetup } from './unary.ts';

/**
 * Answers calls of gRPC that have one request and one answer, which are nearly all, with nothing in between: Connect's way through streams,
 * Web headers and abort signals takes the main thread more than twice as long as everything else (docs/performance.md). Whatever is not as usual, such
 * as compression or a deadline, goes that way.
 */

const contentTypes: ReadonlySet<unknown> = new Set(['application/grpc', 'application/grpc+proto']);

/** One byte of flags, four of length. */
const prefixBytes = 5;

/** Answers a request if it is of that kind; false: it was not touched. */
export function unaryGrpc(
  setup: UnarySetup,
): (request: Http2ServerRequest, response: Http2ServerResponse) => boolean {
  return (request, response) => {
    const { headers, stream } = request;
    const found = setup.methods.get(request.url);
    if (!found || !isUsual(headers)) return false;
    const requestId = setup.requestIdOf(request);
    let caller: Caller;
    try {
      // Before anything of the request is read: a stranger shall not fill our memory.
      caller = setup.admit(request, found.method, requestId);
    } catch (error) {
      stream.on('error', () => {});
      respondFailure(response, requestId, toConnectError(error, requestId));
      stream.resume();
      return true;
    }
    const chunks: Buffer[] = [];
    const mostBytes = setup.mostBytes(found.method);
    const most = mostBytes + prefixBytes;
    let length = 0;
    stream.on('data', (chunk: Buffer) => {
      const wasFine = length <= most;
      length += chunk.length;
      if (length <= most) chunks.push(chunk);
      else if (wasFine) {
        // The rest is read, and forgotten, so that the answer is.
        chunks.length = 0;
        respondFailure(response, requestId, tooLarge(mostBytes));
      }
    });
    // Whoever breaks off gets no answer; what he has asked for goes on, as nobody can tell how far it was.
    stream.on('error', () => {});
    stream.on('end', () => {
      if (length > most) return;
      const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
      answer(setup, found, request, response, caller, body).catch(() => stream.close());
    });
    return true;
  };
}

function isUsual(headers: IncomingHttpHeaders): boolean {
  const encoding = headers['grpc-encoding'];
  return (
    headers[':method'] === 'POST' &&
    contentTypes.has(headers['content-type']) &&
    headers['grpc-timeout'] === undefined &&
    (encoding === undefined || encoding === 'identity')
  );
}

async function answer(
  setup: UnarySetup,
  { method, implementation }: UnaryMethod,
  request: Http2ServerRequest,
  response: Http2ServerResponse,
  caller: Caller,
  body: Buffer,
): Promise<void> {
  const { requestId } = caller;
  try {
    const message = decode(method, body);
    const context = contextOf(request, method, caller, 'grpc');
    const made = await setup.around(method, message, caller, async () => implementation(message, context));
    respond(response, requestId, toBinary(method.output, made));
  } catch (error) {
    respondFailure(response, requestId, toConnectError(error, requestId));
  }
}

/** @throws ConnectError */
function decode(method: DescMethodUnary, body: Buffer): Message {
  if (body.length < prefixBytes || body[0] !== 0 || body.readUInt32BE(1) !== body.length - prefixBytes)
    throw bad(Code.InvalidArgument, 'The request is not one whole message of gRPC.');
  try {
    return fromBinary(method.input, body.subarray(prefixBytes));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw bad(Code.InvalidArgument, `The request is no ${method.input.typeName}: ${why}.`);
  }
}

function tooLarge(mostBytes: number): ConnectError {
  return bad(Code.ResourceExhausted, `The request is larger than ${mostBytes} bytes.`);
}

function bad(code: Code, message: string): ConnectError {
  return refused(code, 'BAD_REQUEST', message);
}

const okTrailers: OutgoingHttpHeaders = { 'grpc-status': '0' };

function respond(response: Http2ServerResponse, requestId: string, message: Uint8Array): void {
  const frame = Buffer.allocUnsafe(prefixBytes + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, prefixBytes);
  finish(response, requestId, okTrailers, frame);
}

function respondFailure(response: Http2ServerResponse, requestId: string, error: ConnectError): void {
  const status = new Headers();
  setTrailerStatus(status, error);
  finish(response, requestId, Object.fromEntries(status));
}

const empty = Buffer.alloc(0);

function finish(
  response: Http2ServerResponse,
  requestId: string,
  trailers: OutgoingHttpHeaders,
  frame: Buffer = empty,
): void {
  // Whoever has gone gets nothing.
  if (response.stream === undefined || response.stream.destroyed || response.headersSent) return;
  const headers = { 'content-type': 'application/grpc+proto' };
  response.writeHead(200, requestId === '' ? headers : { ...headers, 'x-request-id': requestId });
  response.addTrailers(trailers);
  response.end(frame);
}
