import { readFileSync } from 'node:fs';
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2';
import { hasErrno } from '../../linux/libc.ts';
import { CoppiceError } from '../../model/errors.ts';
import { http2Options, ignoreBrokenConnections, limitHttp1 } from './both-protocols.ts';
import type { NodeHandlerFn } from './handler.ts';

export interface TlsAddress {
  readonly host: string;
  readonly port: number;
  /** Files in PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Whoever has a certificate of this authority is asked for no token. */
  readonly clientAuthority?: string;
}

export interface TlsServer {
  readonly server: Http2SecureServer;
  closeIdle(): void;
  destroyAll(): void;
}

/** A server with TLS, which takes HTTP/2 and HTTP/1.1. @throws CoppiceError invalid_argument when a file can't be used */
export function tlsServer(address: TlsAddress, handler: NodeHandlerFn): TlsServer {
  const authority = address.clientAuthority;
  const server = makeServer(
    address,
    authority === undefined ? {} : { ca: read(authority), requestCert: true },
  );
  limitHttp1(server as unknown as Parameters<typeof limitHttp1>[0]);
  server.maxConnections = 2000;
  server.on('request', handler);
  const sessions = new Set<ServerHttp2Session>();
  const sockets = new Set<{ destroy(): void }>();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    // Whoever has lost his power says nothing any more.
    socket.setKeepAlive(true, 30_000);
    socket.on('close', () => sockets.delete(socket));
  });
  ignoreBrokenConnections(server);
  server.on('tlsClientError', () => {});
  return {
    server,
    closeIdle() {
      for (const session of sessions) session.close();
    },
    destroyAll() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function makeServer(
  { certificate, key }: TlsAddress,
  authority: { readonly ca?: Buffer; readonly requestCert?: boolean },
): Http2SecureServer {
  try {
    return createSecureServer({
      ...http2Options,
      allowHTTP1: true,
      cert: read(certificate),
      key: read(key),
      minVersion: 'TLSv1.2',
      handshakeTimeout: 10_000,
      ...authority,
      // Whoever has no certificate can still have a token.
      rejectUnauthorized: false,
    });
  } catch (cause) {
    if (cause instanceof CoppiceError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CoppiceError(
      'invalid_argument',
      `The certificate ${certificate} and the key ${key} can't be used: ${why}.`,
      { cause },
    );
  }
}

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    if (!hasErrno(cause, 'ENOENT', 'EACCES', 'EISDIR')) throw cause;
    throw new CoppiceError('invalid_argument', `${file} can't be read: ${(cause as Error).message}.`, {
      cause,
    });
  }
}
