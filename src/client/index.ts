/** The typed client of the daemon, for Node: every method of the contract in `proto/coppice/v1`. */

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { type Client, createClient, type Interceptor, type Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { EventService } from '../api/generated/coppice/v1/event_service_pb.ts';
import { JobService } from '../api/generated/coppice/v1/job_service_pb.ts';
import { PoolService } from '../api/generated/coppice/v1/pool_service_pb.ts';
import { VolumeService } from '../api/generated/coppice/v1/volume_service_pb.ts';
import { Health } from '../api/generated/grpc/health/v1/health_pb.ts';

export { Code, ConnectError } from '@connectrpc/connect';
export * from '../api/generated/coppice/v1/errors_pb.ts';
export * from '../api/generated/coppice/v1/event_service_pb.ts';
export * from '../api/generated/coppice/v1/job_service_pb.ts';
export * from '../api/generated/coppice/v1/pool_service_pb.ts';
export * from '../api/generated/coppice/v1/resources_pb.ts';
export * from '../api/generated/coppice/v1/volume_service_pb.ts';
export * from '../api/generated/google/rpc/error_details_pb.ts';
export * from '../api/resource-names.ts';

export interface ConnectOptions {
  /** The path of the daemon's unix socket; /run/coppice/coppice.sock when neither this nor `url` is given. */
  readonly socket?: string;
  /** Over the network: `https://HOST:PORT`. */
  readonly url?: string;
  /** A token of `coppice token create`. */
  readonly token?: string;
  readonly tls?: {
    /** A file in PEM with the authority of the server's certificate, where the system does not know it. */
    readonly authority?: string;
    /** Files in PEM, where the client shows a certificate instead of a token. */
    readonly certificate?: string;
    readonly key?: string;
  };
}

export interface CoppiceClient extends Disposable {
  readonly volumes: Client<typeof VolumeService>;
  readonly pools: Client<typeof PoolService>;
  readonly jobs: Client<typeof JobService>;
  readonly events: Client<typeof EventService>;
  readonly health: Client<typeof Health>;
  readonly transport: Transport;
  /** Ends the connection, and with it what is under way. */
  close(): void;
}

/** Makes a client. It connects with the first call, and again when the connection has been lost. */
export function connectCoppice(options: ConnectOptions = {}): CoppiceClient {
  const { socket = options.url === undefined ? '/run/coppice/coppice.sock' : undefined, token } = options;
  // Over a unix socket there is no host, and HTTP wants one.
  const baseUrl = socket === undefined ? (options.url ?? '') : 'http://localhost';
  const sessionManager = new Http2SessionManager(
    baseUrl,
    {},
    socket === undefined ? tlsOptions(options.tls) : { createConnection: () => connect(socket) },
  );
  const interceptors = token === undefined ? [] : [withToken(token)];
  const transport = createGrpcTransport({ baseUrl, sessionManager, interceptors });
  const close = (): void => sessionManager.abort();
  return {
    volumes: createClient(VolumeService, transport),
    pools: createClient(PoolService, transport),
    jobs: createClient(JobService, transport),
    events: createClient(EventService, transport),
    health: createClient(Health, transport),
    transport,
    close,
    [Symbol.dispose]: close,
  };
}

function withToken(token: string): Interceptor {
  return (next) => (request) => {
    request.header.set('authorization', `Bearer ${token}`);
    return next(request);
  };
}

function tlsOptions({ authority, certificate, key }: NonNullable<ConnectOptions['tls']> = {}): {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
} {
  return {
    ...(authority !== undefined && { ca: readFileSync(authority) }),
    ...(certificate !== undefined && { cert: readFileSync(certificate) }),
    ...(key !== undefined && { key: readFileSync(key) }),
  };
}
