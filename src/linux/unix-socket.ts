import { connect, type Socket } from 'node:net';
import { CoppiceError } from '../model/errors.ts';
import { peerCredentials } from './sockets.ts';
import { openTrusted } from './trusted-path.ts';

/** The most that is read in one conversation, in bytes: who answers may want to fill our memory. */
const mostBytes = 16 * 2 ** 20;

/**
 * Connects to a local socket that nobody else can have put there.
 * @param signal ends the conversation, also one that is under way: a time limit, or a cancellation
 * @throws CoppiceError invalid_argument where the path is not safe or no socket; not_found; io_error when nobody listens
 */
export async function connectSocket(path: string, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  using file = openTrustedSocket(path);
  const socket = connect({ path: file.path });
  const abort = (): void => {
    socket.destroy(signal.reason instanceof Error ? signal.reason : undefined);
  };
  signal.addEventListener('abort', abort, { once: true });
  socket.on('close', () => signal.removeEventListener('abort', abort));
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => reject(error instanceof CoppiceError ? error : unreachable(path, error)));
  });
  // Whoever waits for something is told by the closing.
  socket.on('error', () => undefined);
  return socket;
}

/** The number of the process that has begun to listen there, as the kernel noted it; 0 where it can't be seen from here. */
export function peerOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } };
  const fd = handle?.fd ?? -1;
  return fd < 0 ? 0 : peerCredentials(fd).pid;
}

/** Looks whether a socket may be used, and does not. @throws CoppiceError as `connectSocket` */
export function requireTrustedSocket(path: string): void {
  openTrustedSocket(path)[Symbol.dispose]();
}

function openTrustedSocket(path: string): Disposable & { readonly path: string } {
  const file = openTrusted(path, 'the socket');
  if (file.status.isSocket()) return file;
  file[Symbol.dispose]();
  throw new CoppiceError('invalid_argument', `${path} is not a socket.`);
}

/** A conversation in lines. One reader at a time; what comes while nobody reads waits, up to a bound. */
export class LineSocket implements Disposable {
  readonly socket: Socket;
  readonly #path: string;
  readonly #mostLine: number;
  #buffer: Buffer = Buffer.alloc(0);
  #total = 0;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  /** @param mostLine the longest line that is taken, in bytes */
  constructor(socket: Socket, path: string, mostLine: number = 4 * 2 ** 20) {
    this.socket = socket;
    this.#path = path;
    this.#mostLine = mostLine;
    socket.on('data', (chunk) => {
      this.#total += chunk.length;
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      if (this.#total > mostBytes) this.#overflow('too much');
      const end = this.#buffer.indexOf('\n');
      if ((end < 0 ? this.#buffer.length : end) > this.#mostLine) this.#overflow('too long a line');
      this.#wake?.();
    });
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(said(path, 'nothing more, and has hung up')));
  }

  send(bytes: string | Buffer): void {
    this.socket.write(bytes);
  }

  /** The next line, without its end. @throws CoppiceError io_error when there is none, or none that could be meant */
  async line(): Promise<Buffer> {
    for (;;) {
      const end = this.#buffer.indexOf('\n');
      if (end >= 0) {
        const line = this.#buffer.subarray(0, end);
        this.#buffer = this.#buffer.subarray(end + 1);
        return line;
      }
      if (this.#failure) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The next line as JSON. */
  async json(): Promise<unknown> {
    const line = (await this.line()).toString('utf8');
    try {
      return JSON.parse(line) as unknown;
    } catch {
      throw said(this.#path, `what is not JSON: "${line.slice(0, 80)}"`);
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #overflow(what: string): void {
    this.#buffer = Buffer.alloc(0);
    this.#fail(said(this.#path, what));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.socket.destroy();
    this.#wake?.();
  }
}

function unreachable(path: string, cause: Error): CoppiceError {
  const code = 'code' in cause ? String(cause.code) : '';
  if (code === 'EACCES' || code === 'EPERM')
    return new CoppiceError('permission_denied', `You may not use the socket ${path}.`, { cause });
  const why =
    code === 'ECONNREFUSED'
      ? 'nobody listens on it; is the program running?'
      : code === 'EAGAIN'
        ? 'too many others are waiting for it.'
        : `${cause.message}.`;
  return new CoppiceError('io_error', `Could not connect to ${path}: ${why}`, { cause });
}

/** An answer that can't be used. */
export function said(path: string, what: string): CoppiceError {
  return new CoppiceError('io_error', `What listens on ${path} has said ${what}.`);
}
