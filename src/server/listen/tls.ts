import { readFileSync } from 'node:fs';
import { createSecureServer, type Http2SecureServer } from 'node:http2';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Log } from '../log.ts';
import {
  countCalls,
  http2Options,
  ignoreBrokenConnections,
  limitHttp1,
  mostConnections,
} from './both-protocols.ts';
import type { NodeHandlerFn } from './handler.ts';
import { Sessions } from './sessions.ts';

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
  isQuiet(): boolean;
  destroyAll(): void;
}

/** Milliseconds between two looks whether a certificate was renewed. */
const usualLook = 5000;

/** A server with TLS, which takes HTTP/2 and HTTP/1.1. @throws CoppiceError invalid_argument when a file can't be used */
export function tlsServer(address: TlsAddress, handler: NodeHandlerFn, log: Log): TlsServer {
  const identity = readIdentity(address);
  const server = makeServer(address, identity);
  const look = setInterval(followRenewals(server, address, identity, log), usualLook).unref();
  server.on('close', () => clearInterval(look));
  limitHttp1(server as unknown as Parameters<typeof limitHttp1>[0]);
  server.maxConnections = mostConnections;
  const sessions = new Sessions(server, server);
  const calls = countCalls(server as unknown as Parameters<typeof countCalls>[0]);
  server.on('request', handler);
  const sockets = new Set<{ destroy(): void }>();
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
    closeIdle: () => sessions.closeIdle(),
    isQuiet: () => sessions.isQuiet && calls() === 0,
    destroyAll() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface Identity {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer;
}

function readIdentity({ certificate, key, clientAuthority }: TlsAddress): Identity {
  const ca = clientAuthority === undefined ? {} : { ca: read(clientAuthority) };
  return { cert: read(certificate), key: read(key), ...ca };
}

function makeServer(address: TlsAddress, identity: Identity): Http2SecureServer {
  return withThese(address, () =>
    createSecureServer({
      ...http2Options,
      allowHTTP1: true,
      minVersion,
      handshakeTimeout: 10_000,
      ...identity,
      requestCert: identity.ca !== undefined,
      // Whoever has no certificate can still have a token.
      rejectUnauthorized: false,
    }),
  );
}

const minVersion = 'TLSv1.2';

/**
 * Whoever connects from then on gets the renewed certificate; connections that are there go on. What can't be used, such as a certificate
 * whose key is still to be written, changes nothing, and is told once.
 */
function followRenewals(
  server: Http2SecureServer,
  address: TlsAddress,
  first: Identity,
  log: Log,
): () => void {
  let used = first;
  let told = '';
  return () => {
    try {
      const identity = readIdentity(address);
      if (isSame(identity, used)) return;
      withThese(address, () => server.setSecureContext({ minVersion, ...identity }));
      used = identity;
      told = '';
      log.info('certificate renewed', { file: address.certificate });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== told) log.warn('the renewed certificate is not used yet', { reason });
      told = reason;
    }
  };
}

function isSame(one: Identity, other: Identity): boolean {
  const ca = one.ca === undefined || (other.ca !== undefined && one.ca.equals(other.ca));
  return ca && one.cert.equals(other.cert) && one.key.equals(other.key);
}

/** @throws CoppiceError invalid_argument */
function withThese<T>({ certificate, key }: TlsAddress, use: () => T): T {
  try {
    return use();
  } catch (cause) {
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
