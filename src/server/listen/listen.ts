import type { Server } from 'node:net';
import { isUnixSocket } from '../../linux/sockets.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { rememberPeer } from '../auth/peer.ts';
import type { Log } from '../log.ts';
import { bothProtocols } from './both-protocols.ts';
import type { NodeHandlerFn } from './handler.ts';
import { type TlsAddress, tlsServer } from './tls.ts';
import { listenOnUnix, type UnixAddress } from './unix.ts';

export interface ListenOptions {
  readonly unix?: UnixAddress;
  /** Sockets that systemd has opened: unix sockets. */
  readonly descriptors?: readonly number[];
  readonly tls?: readonly TlsAddress[];
}

export interface Listener {
  /** For people. */
  readonly address: string;
  /** Takes no more connections, and waits until those that are there have ended. */
  close(): Promise<void>;
  destroyAll(): void;
}

/**
 * Listens wherever it was told to.
 * @param opened gets what has to be closed, also when a later one fails
 * @throws CoppiceError
 */
export async function listen(
  options: ListenOptions,
  handler: NodeHandlerFn,
  log: Log,
  opened: AsyncDisposableStack,
): Promise<Listener[]> {
  const listeners: Listener[] = [];
  const add = (address: string, server: Closable, inner: Inner): void => {
    const listener = { address, close: () => closing(server, inner), destroyAll: () => inner.destroyAll() };
    listeners.push(listener);
    opened.defer(async () => {
      listener.destroyAll();
      await listener.close();
    });
  };
  for (const fd of options.descriptors ?? []) {
    requireUnixSocket(fd);
    const plain = bothProtocols(handler, rememberPeer);
    await started(plain.server, () => plain.server.listen({ fd }));
    add(`the socket ${fd} of systemd`, plain.server, plain);
  }
  if (options.unix) {
    const plain = bothProtocols(handler, rememberPeer);
    await listenOnUnix(plain.server, options.unix);
    add(`unix:${options.unix.path}`, plain.server, plain);
  }
  for (const address of options.tls ?? []) {
    const secure = tlsServer(address, handler, log);
    await started(secure.server as unknown as Server, () =>
      secure.server.listen(address.port, address.host),
    ).catch((cause: unknown) => {
      throw cannotListen(address, cause);
    });
    const bound = secure.server.address();
    const port = typeof bound === 'object' && bound ? bound.port : address.port;
    add(`https://${address.host}:${port}`, secure.server, secure);
  }
  return listeners;
}

/** Of the network, everybody would come in as a member of the group: without TLS, and without a token. */
function requireUnixSocket(fd: number): void {
  try {
    if (isUnixSocket(fd)) return;
  } catch (cause) {
    if (!hasErrno(cause, 'ENOTSOCK', 'EBADF')) throw cause;
  }
  throw new CoppiceError(
    'invalid_argument',
    `The socket ${fd} of systemd is no unix socket; use --listen for the network, which is served with TLS only.`,
  );
}

type Inner = Pick<Listener, 'destroyAll'> & { closeIdle(): void; isQuiet(): boolean };
type Closable = { readonly listening: boolean; close(done: () => void): unknown };

/** Milliseconds between two looks whether calls are under way. */
const quietLook = 100;

async function closing(server: Closable, inner: Inner): Promise<void> {
  if (!server.listening) return;
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  inner.closeIdle();
  let wasQuiet = false;
  // A client may keep its side of a connection open for as long as it likes.
  const look = setInterval(() => {
    if (wasQuiet && inner.isQuiet()) inner.destroyAll();
    wasQuiet = inner.isQuiet();
  }, quietLook);
  await closed;
  clearInterval(look);
}

function cannotListen({ host, port }: TlsAddress, cause: unknown): unknown {
  const why = reasons.find(([code]) => hasErrno(cause, code))?.[1];
  if (why === undefined) return cause;
  return new CoppiceError('invalid_argument', `Can't listen on ${host}:${port}: ${why}.`, { cause });
}

const reasons = [
  ['EADDRINUSE', 'another program listens there; choose another port with --listen'],
  ['EADDRNOTAVAIL', 'this host has no such address'],
  ['ENOTFOUND', 'there is no host of that name'],
  ['EAI_AGAIN', 'the name of the host could not be looked up'],
  ['EACCES', 'ports below 1024 need the right CAP_NET_BIND_SERVICE'],
] as const;

function started(server: Pick<Server, 'once'>, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', reject);
    listen();
  });
}
