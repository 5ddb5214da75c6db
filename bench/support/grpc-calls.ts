import { connect, type Socket } from 'node:net';
import {
  type DescMethodUnary,
  fromBinary,
  type Message,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';

/** Of RFC 9113. */
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const types = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
const endStream = 0x1;
const endHeaders = 0x4;
const acknowledged = 0x1;
const frameHeader = 9;
/** What a server takes at least without being asked. */
const largestFrame = 16_384;

interface Waiting {
  readonly stream: number;
  readonly chunks: Buffer[];
  readonly resolve: (message: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Calls of gRPC, one after the other, with as little of a client as there can be, so that what is measured is the server: the machine has two
 * processors, and Node's own client takes a good part of one for sixteen connections. Frames are written as bytes, headers are never
 * compressed, and those of answers not read: a call has succeeded when it was answered with a message.
 */
export class GrpcConnection implements Disposable {
  readonly #socket: Socket;
  #rest: Buffer = Buffer.alloc(0);
  #nextStream = 1;
  #waiting: Waiting | undefined;

  constructor(path: string) {
    this.#socket = connect(path);
    // Nothing that is answered has to be asked for piece by piece.
    const initialWindow = Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff]);
    const connectionWindow = Buffer.from([0x40, 0, 0, 0]);
    this.#socket.write(preface);
    this.#send(types.settings, 0, 0, initialWindow);
    this.#send(types.windowUpdate, 0, 0, connectionWindow);
    this.#socket.on('data', (bytes) => this.#receive(bytes));
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error('The daemon has hung up.')));
  }

  async call<M extends DescMethodUnary>(method: M, request: Message): Promise<MessageShape<M['output']>> {
    const message = toBinary(method.input, request);
    const body = Buffer.allocUnsafe(5 + message.length);
    body[0] = 0;
    body.writeUInt32BE(message.length, 1);
    body.set(message, 5);
    if (body.length > largestFrame || this.#waiting) throw new Error('One small request at a time.');
    const stream = this.#nextStream;
    this.#nextStream += 2;
    const answer = new Promise<Buffer>((resolve, reject) => {
      this.#waiting = { stream, chunks: [], resolve, reject };
    });
    const path = `/${method.parent.typeName}/${method.name}`;
    this.#socket.cork();
    this.#send(types.headers, endHeaders, stream, headersOf(path));
    this.#send(types.data, endStream, stream, body);
    this.#socket.uncork();
    return fromBinary<M['output']>(method.output, (await answer).subarray(5));
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #send(type: number, flags: number, stream: number, payload: Buffer): void {
    const header = Buffer.allocUnsafe(frameHeader);
    header.writeUIntBE(payload.length, 0, 3);
    header[3] = type;
    header[4] = flags;
    header.writeUInt32BE(stream, 5);
    this.#socket.write(header);
    this.#socket.write(payload);
  }

  #receive(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= frameHeader) {
      const end = frameHeader + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < end) return;
      const [type = 0, flags = 0] = [this.#rest[3], this.#rest[4]];
      this.#take(type, flags, this.#rest.readUInt32BE(5), this.#rest.subarray(frameHeader, end));
      this.#rest = this.#rest.subarray(end);
    }
  }

  #take(type: number, flags: number, stream: number, payload: Buffer): void {
    const isAnswer = (flags & acknowledged) !== 0;
    if (type === types.settings && !isAnswer) this.#send(types.settings, acknowledged, 0, Buffer.alloc(0));
    if (type === types.ping && !isAnswer) this.#send(types.ping, acknowledged, 0, payload);
    if (type === types.goAway || type === types.reset) this.#fail(new Error('The daemon has ended a call.'));
    const waiting = this.#waiting;
    if (waiting?.stream !== stream) return;
    if (type === types.data) waiting.chunks.push(payload);
    if ((type !== types.data && type !== types.headers) || (flags & endStream) === 0) return;
    this.#waiting = undefined;
    if (waiting.chunks.length > 0) waiting.resolve(Buffer.concat(waiting.chunks));
    else waiting.reject(new Error('A call has failed; the log of the daemon at the level debug says why.'));
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }
}

const known = new Map<string, Buffer>();

/** RFC 7541: names from its static table, values as they are, and nothing to be remembered. */
function headersOf(path: string): Buffer {
  let headers = known.get(path);
  if (!headers) {
    const [post, http, pathName, authority, contentType, otherName] = [
      0x83,
      0x86,
      0x04,
      0x01,
      [0x0f, 0x10],
      0x00,
    ];
    headers = Buffer.from([
      ...[post, http, pathName, ...text(path), authority, ...text('localhost')],
      ...[...contentType, ...text('application/grpc+proto'), otherName, ...text('te'), ...text('trailers')],
    ]);
    known.set(path, headers);
  }
  return headers;
}

/** Shorter than 127 bytes. */
function text(value: string): readonly number[] {
  return [value.length, ...Buffer.from(value)];
}
