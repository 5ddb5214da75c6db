import { type ClientHttp2Session, connect } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import {
  type DescMethodUnary,
  fromBinary,
  type Message,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';

/**
 * Calls of gRPC with as little of a client as there can be, so that what is measured is the server: the machine has two processors, and a
 * client with streams and interceptors takes one of them for itself.
 */
export class GrpcConnection implements Disposable {
  readonly #session: ClientHttp2Session;

  constructor(socket: string) {
    this.#session = connect('http://localhost', { createConnection: () => connectSocket(socket) });
  }

  call<M extends DescMethodUnary>(method: M, request: Message): Promise<MessageShape<M['output']>> {
    const message = toBinary(method.input, request);
    const frame = Buffer.allocUnsafe(5 + message.length);
    frame[0] = 0;
    frame.writeUInt32BE(message.length, 1);
    frame.set(message, 5);
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ':method': 'POST',
        ':path': `/${method.parent.typeName}/${method.name}`,
        'content-type': 'application/grpc+proto',
        te: 'trailers',
      });
      const chunks: Buffer[] = [];
      let status: unknown;
      let reason: unknown;
      const note = (headers: Readonly<Record<string, unknown>>): void => {
        status ??= headers['grpc-status'];
        reason ??= headers['grpc-message'];
      };
      stream.on('response', note);
      stream.on('trailers', note);
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', reject);
      stream.on('end', () => {
        if (status === '0')
          resolve(fromBinary<M['output']>(method.output, Buffer.concat(chunks).subarray(5)));
        else reject(new Error(`${method.name}: ${String(status)} ${String(reason)}`));
      });
      stream.end(frame);
    });
  }

  [Symbol.dispose](): void {
    this.#session.close();
  }
}
