import type { Socket } from 'node:net';
import { peerCredentials } from '../../linux/sockets.ts';

/** The process at the other end of a unix socket, at the moment when it connected. */
export interface Peer {
  readonly uid: number;
  readonly pid: number;
}

const peerKey = Symbol('peer');

/** Asks the kernel once, and keeps the answer with the connection. @throws SystemError */
export function rememberPeer(socket: Socket): void {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } };
  const fd = handle?.fd;
  if (fd === undefined || fd < 0) throw new Error('The connection has no descriptor.');
  Reflect.set(socket, peerKey, peerCredentials(fd));
}

/** Of a request, also one of many in a connection, whose socket is a proxy. */
export function peerOf(socket: object | undefined): Peer | undefined {
  return socket && (Reflect.get(socket, peerKey) as Peer | undefined);
}
