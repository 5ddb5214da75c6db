import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import { connectAs, type User } from '../../linux/connect-as.ts';
import type { Descriptor } from '../../linux/files.ts';
import { peerCredentials } from '../../linux/sockets.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { type Attempt, explainFailure } from './failures.ts';

export interface SessionOptions {
  readonly at: { readonly socketDirectory: string } | { readonly host: string };
  readonly port: number;
  readonly user: string;
  readonly database: string;
  /** As whom to connect to a socket. */
  readonly as: User;
  /** Called only when the server asks for one. */
  readonly password: () => string | undefined;
  /** For sentences. */
  readonly server: string;
}

/** Who has opened the socket that we are connected to, as the kernel tells it. */
export type Peer = { readonly pid: number; readonly uid: number };

export type Row = Readonly<Record<string, string | number | boolean | null>>;

/** One connection to a server. What is bound to a session, such as a backup, the server ends when that ends, however it does. */
export class Session implements AsyncDisposable {
  /** Absent over TCP. */
  readonly peer: Peer | undefined;
  readonly #client: Client;
  readonly #socket: Socket;
  readonly #options: SessionOptions;
  #lost: Error | undefined;

  private constructor(client: Client, socket: Socket, peer: Peer | undefined, options: SessionOptions) {
    this.#client = client;
    this.#socket = socket;
    this.#options = options;
    this.peer = peer;
    // Told to whoever asks next.
    client.on('error', (error: Error) => {
      this.#lost ??= error;
    });
  }

  /**
   * @param check looks at who listens, before he is told anything
   * @throws CoppiceError
   */
  static async open(
    options: SessionOptions,
    signal: AbortSignal,
    check: (peer: Peer) => void = () => undefined,
  ): Promise<Session> {
    const where =
      'host' in options.at
        ? `port ${options.port}`
        : `${options.at.socketDirectory}/.s.PGSQL.${options.port}`;
    const attempt = {
      what: `connect to ${where} as role "${options.user}"`,
      server: options.server,
      user: options.user,
    };
    const { Client } = await import('./postgres-client.ts');
    try {
      const { socket, peer } = await connect(options, signal);
      using stopping = stoppedBy(signal, socket);
      if (peer) checkOrClose(socket, () => check(peer));
      const client = new Client({
        ...('host' in options.at ? { host: options.at.host } : { host: options.at.socketDirectory }),
        port: options.port,
        user: options.user,
        database: options.database,
        password: () => options.password() as string,
        stream: () => socket,
        ssl: false,
        application_name: 'coppice',
        client_encoding: 'UTF8',
        // All that is not given here would be taken from the environment.
        options: '-c statement_timeout=0 -c lock_timeout=0',
      });
      const session = new Session(client, socket, peer, options);
      try {
        await client.connect();
        return session;
      } catch (error) {
        socket.destroy();
        throw stopping.reason() ?? error;
      }
    } catch (error) {
      throw explainFailure(error, attempt);
    }
  }

  /**
   * @param attempt what to say when it fails
   * @throws CoppiceError
   */
  async query(
    text: string,
    signal: AbortSignal,
    attempt: Pick<Attempt, 'what' | 'grant'>,
    values: readonly string[] = [],
  ): Promise<readonly Row[]> {
    using stopping = stoppedBy(signal, this.#socket);
    try {
      signal.throwIfAborted();
      if (this.#lost) throw this.#lost;
      const { rows } = await this.#client.query<Row>(text, [...values]);
      return rows;
    } catch (error) {
      const { server, user } = this.#options;
      throw explainFailure(stopping.reason() ?? error, { ...attempt, server, user });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.destroyed) return;
    const farewell = new AbortController();
    await Promise.race([
      this.#client.end().catch(() => undefined),
      // A server that hangs is not waited for: the kernel tells it that we have gone.
      sleep(1_000, undefined, { signal: farewell.signal }).catch(() => undefined),
    ]);
    farewell.abort();
    this.#socket.destroy();
  }
}

interface Connected {
  readonly socket: Socket;
  readonly peer?: Peer;
}

async function connect({ at, port, as }: SessionOptions, signal: AbortSignal): Promise<Connected> {
  if ('host' in at) return { socket: new Socket() };
  const path = `${at.socketDirectory}/.s.PGSQL.${port}`;
  for (;;) {
    signal.throwIfAborted();
    let opened: Descriptor;
    try {
      opened = connectAs(path, as);
    } catch (error) {
      if (!hasErrno(error, 'EAGAIN')) throw error;
      await sleep(50); // as many wait to be taken as the server has room for
      continue;
    }
    const peer = peerCredentials(opened.fd);
    const socket = new Socket({ fd: opened.fd, readable: true, writable: true });
    // It is connected before the client sees it, so that the client's own connecting only has to say so.
    socket.connect = () => {
      process.nextTick(() => socket.emit('connect'));
      return socket;
    };
    return { socket, peer };
  }
}

function checkOrClose(socket: Socket, check: () => void): void {
  try {
    check();
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Hangs up when the signal fires. */
function stoppedBy(signal: AbortSignal, socket: Socket): Disposable & { reason(): unknown } {
  const stop = (): void => void socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  return {
    reason: () => (signal.aborted ? (signal.reason as unknown) : undefined),
    [Symbol.dispose]: () => signal.removeEventListener('abort', stop),
  };
}
