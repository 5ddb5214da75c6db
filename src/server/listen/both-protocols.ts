import { createServer as createHttpServer, type Server as HttpServer, type RequestListener } from 'node:http';
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from 'node:http2';
import { createServer, type Server, type Socket } from 'node:net';
import type { NodeHandlerFn } from './handler.ts';
import { Sessions } from './sessions.ts';

/** Milliseconds for which a connection may say nothing before it is known which protocol it speaks. */
const patience = 10_000;

/** What every connection with HTTP/2 begins with. */
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** A server without TLS that takes HTTP/1.1 and HTTP/2 on one socket. Node's own takes either, and both only with TLS. */
export interface PlainServer {
  readonly server: Server;
  /** Ends connections that nobody uses at this moment. */
  closeIdle(): void;
  /** Whether no call is under way. */
  isQuiet(): boolean;
  /** Ends all connections. */
  destroyAll(): void;
}

/** @param onConnection is called first, and refuses the connection by throwing */
export function bothProtocols(handler: NodeHandlerFn, onConnection: (socket: Socket) => void): PlainServer {
  const http = createHttpServer(handler as unknown as RequestListener);
  const http2 = createHttp2Server(http2Options, handler);
  limitHttp1(http);
  const calls = countCalls(http);
  const sockets = new Set<Socket>();
  ignoreBrokenConnections(http2);
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    try {
      onConnection(socket);
    } catch {
      socket.destroy();
      return;
    }
    chooseProtocol(socket, (protocol) => (protocol === 'http2' ? http2 : http).emit('connection', socket));
  });
  server.maxConnections = mostConnections;
  const sessions = new Sessions(http2, server);
  return {
    server,
    closeIdle() {
      http.closeIdleConnections();
      sessions.closeIdle();
    },
    isQuiet: () => sessions.isQuiet && calls() === 0,
    destroyAll() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Of one address where the server listens. */
export const mostConnections = 2000;

/** Streams of one connection, and what a client may keep the server from forgetting. */
export const http2Options: {
  readonly settings: { readonly maxConcurrentStreams: number };
  readonly maxSessionMemory: number;
  readonly unknownProtocolTimeout: number;
} = {
  settings: { maxConcurrentStreams: 256 },
  maxSessionMemory: 10,
  unknownProtocolTimeout: patience,
};

/** Slow senders of headers and of bodies end. */
export function limitHttp1(
  server: Pick<HttpServer, 'headersTimeout' | 'requestTimeout' | 'keepAliveTimeout'>,
): void {
  server.headersTimeout = patience;
  server.requestTimeout = 60_000;
  server.keepAliveTimeout = 30_000;
}

/** Counts the calls by HTTP/1.1 that are under way. */
export function countCalls(server: Pick<HttpServer, 'on'>): () => number {
  let underWay = 0;
  server.on('request', (request, response) => {
    if (request.httpVersionMajor !== 1) return;
    underWay++;
    response.on('close', () => {
      underWay--;
    });
  });
  return () => underWay;
}

/** Someone who breaks off is no failure of the server. */
export function ignoreBrokenConnections(server: Pick<Http2Server, 'on'>): void {
  server.on('sessionError', (_error: Error, session: ServerHttp2Session) => session.destroy());
}

function chooseProtocol(socket: Socket, choose: (protocol: 'http1' | 'http2') => void): void {
  let begun = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), patience);
  const look = (): void => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    begun = Buffer.concat([begun, chunk]);
    const length = Math.min(begun.length, preface.length);
    const couldBe = begun.subarray(0, length).equals(preface.subarray(0, length));
    if (couldBe && length < preface.length) return;
    end();
    socket.unshift(begun);
    choose(couldBe ? 'http2' : 'http1');
  };
  const end = (): void => {
    clearTimeout(timer);
    socket.removeListener('readable', look);
    socket.removeListener('close', end);
  };
  socket.on('readable', look);
  socket.on('close', end);
}
