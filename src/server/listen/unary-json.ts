import type { IncomingMessage, ServerResponse } from 'node:http';
import { type DescMessage, fromJson, type JsonValue, type Message, toJson } from '@bufbuild/protobuf';
import { Code, type ConnectError } from '@connectrpc/connect';
import { codeToHttpStatus, errorToJson } from '@connectrpc/connect/protocol-connect';
import type { Caller } from '../auth/caller.ts';
import { badRequest, refused, toConnectError } from '../failures.ts';
import type { Violation } from '../rules.ts';
import { contextOf, type UnaryMethod, type UnarySetup } from './unary.ts';

/**
 * Answers calls that are posted as JSON, as curl does, in the form of the Connect protocol. Connect itself would do it, too, but does not
 * always say which field of a request could not be read. What is not as usual, such as compression or a deadline, goes there.
 */
export function unaryJson(
  setup: UnarySetup,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  return (request, response) => {
    const found = setup.methods.get(request.url ?? '');
    if (!found || !isUsual(request)) return false;
    const requestId = setup.requestIdOf(request);
    const fail = (error: unknown): void => {
      const failure = toConnectError(error, requestId);
      respond(response, requestId, statusOf(failure), errorToJson(failure, undefined) as JsonValue);
      request.resume();
    };
    request.on('error', () => {});
    let caller: Caller;
    try {
      // Before anything of the request is read: a stranger shall not fill our memory.
      caller = setup.admit(request, found.method, requestId);
    } catch (error) {
      fail(error);
      return true;
    }
    const mostBytes = setup.mostBytes(found.method);
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= mostBytes) chunks.push(chunk);
      else {
        chunks.length = 0;
        const message = `The request is larger than ${mostBytes} bytes.`;
        fail(refused(Code.ResourceExhausted, 'BAD_REQUEST', message));
      }
    });
    request.on('end', () => {
      if (length > mostBytes) return;
      answer(setup, found, request, response, caller, Buffer.concat(chunks)).catch(fail);
    });
    return true;
  };
}

/** The most fields of a request that can't be read which are tried one by one. */
const mostTried = 100;

function isUsual({ method, headers }: IncomingMessage): boolean {
  return (
    method === 'POST' &&
    /^application\/json(; *charset=utf-8)?$/i.test(headers['content-type'] ?? '') &&
    headers['connect-timeout-ms'] === undefined &&
    (headers['content-encoding'] ?? 'identity') === 'identity'
  );
}

async function answer(
  setup: UnarySetup,
  { method, implementation }: UnaryMethod,
  request: IncomingMessage,
  response: ServerResponse,
  caller: Caller,
  body: Buffer,
): Promise<void> {
  const message = read(method.input, body);
  const context = contextOf(request, method, caller, 'connect');
  const made = await setup.around(method, message, caller, async () => implementation(message, context));
  respond(response, caller.requestId, 200, toJson(method.output, made));
}

/** @throws ConnectError INVALID_ARGUMENT */
function read(input: DescMessage, body: Buffer): Message {
  const value = parse(body);
  try {
    return fromJson(input, value, { ignoreUnknownFields: false });
  } catch (error) {
    throw badRequest(unreadable(input, value, error));
  }
}

/** Which fields can't be read: each is tried by itself. */
function unreadable(input: DescMessage, value: JsonValue, error: unknown): Violation[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return [{ field: input.name, description: 'must be a JSON object' }];
  // A few are enough: to try each of thousands would hold up everybody else.
  const found = Object.entries(value)
    .slice(0, mostTried)
    .flatMap(([name, one]): Violation[] => {
      try {
        fromJson(input, { [name]: one }, { ignoreUnknownFields: false });
        return [];
      } catch (failure) {
        const known = input.fields.find((field) => field.jsonName === name || field.name === name);
        const field = known?.name ?? name.slice(0, 80);
        return [
          {
            field,
            description: known ? `can't be read: ${reasonOf(failure)}` : 'is no field of this request',
          },
        ];
      }
    });
  // Each for itself can be read: two of them say different things of the same.
  return found.length > 0 ? found : [{ field: input.name, description: `can't be read: ${reasonOf(error)}` }];
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message.slice(0, 300) : String(error);
}

/** @throws ConnectError INVALID_ARGUMENT */
function parse(body: Buffer): JsonValue {
  try {
    return JSON.parse(body.toString('utf8')) as JsonValue;
  } catch (error) {
    throw refused(Code.InvalidArgument, 'BAD_REQUEST', `The request is no JSON: ${reasonOf(error)}.`);
  }
}

function statusOf({ code }: ConnectError): number {
  return codeToHttpStatus(code);
}

function respond(response: ServerResponse, requestId: string, status: number, value: JsonValue): void {
  if (response.destroyed || response.headersSent) return;
  response.writeHead(status, {
    'content-type': 'application/json',
    ...(requestId !== '' && { 'x-request-id': requestId }),
  });
  response.end(JSON.stringify(value));
}
