import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { dirname, resolve } from 'node:path';
import type { TLSSocket } from 'node:tls';
import type { DescMethod } from '@bufbuild/protobuf';
import { createContextValues } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { Health } from '../api/generated/grpc/health/v1/health_pb.ts';
import { defaultAuditPath } from '../engine/audit.ts';
import { randomId } from '../linux/random.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Credentials } from './auth/authenticate.ts';
import { credentialsKey } from './auth/credentials.ts';
import { peerOf } from './auth/peer.ts';
import type { Scope } from './auth/scopes.ts';
import { defaultTokenFile, Grants } from './auth/tokens.ts';
import { makeCalls } from './calls.ts';
import type { ServerContext } from './context.ts';
import { Jobs } from './jobs/jobs.ts';
import { findResult } from './jobs/results.ts';
import type { NodeHandlerFn } from './listen/handler.ts';
import { type Listener, type ListenOptions, listen } from './listen/listen.ts';
import type { UnarySetup } from './listen/unary.ts';
import { unaryGrpc } from './listen/unary-grpc.ts';
import { unaryJson } from './listen/unary-json.ts';
import type { Log } from './log.ts';
import { metricsHandler } from './metrics/handler.ts';
import { Metrics } from './metrics/metrics.ts';
import { ensureDirectory } from './own-directory.ts';
import { Others } from './pools/others.ts';
import { applyingPolicies, type Ticker, usualTicker, verifyingDue } from './pools/policies.ts';
import { PoolEvents } from './pools/pool-events.ts';
import { ServedPool } from './pools/served-pool.ts';
import { largestRequest } from './rules.ts';
import { servicesOf, unaryMethods } from './services/all.ts';
import { Requests } from './state/requests.ts';
import { State } from './state/state.ts';

/** Where the server keeps what it has to remember, unless somebody says otherwise. */
const defaultStateDirectory = '/var/lib/coppice-daemon';

export interface ServerOptions {
  /** What clients call each pool, and where it is. */
  readonly pools: ReadonlyMap<string, string>;
  readonly listen: ListenOptions;
  /** Of those who come over the unix socket and are not root. */
  readonly socketScope: Scope;
  readonly stateDirectory?: string;
  readonly auditLog?: string;
  readonly tokenFile?: string;
  /** Real paths. */
  readonly imageDirectories?: readonly string[];
  /** Real paths. */
  readonly socketDirectories?: readonly string[];
  readonly hooks?: ReadonlyMap<string, readonly string[]>;
  /** When policies are applied; every five minutes when absent. */
  readonly policyTicker?: Ticker;
  readonly verifyTicker?: Ticker;
  readonly log: Log;
}

export interface RunningServer {
  /** Where it listens, for people. */
  readonly addresses: readonly string[];
  /** Lets calls end, interrupts jobs, and lets go of the pools. */
  close(): Promise<void>;
}

/** Milliseconds for which calls may go on when the server stops. */
const patience = 10_000;

/** Milliseconds between two times at which what is old is forgotten. */
const expireEvery = 10 * 60 * 1000;

/** Serves pools until it is closed. @throws CoppiceError when it can't listen, or its state can't be used */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { log, auditLog = defaultAuditPath } = options;
  makeAuditDirectory(auditLog, log);
  await using opened = new AsyncDisposableStack();
  const stopping = new AbortController();
  const metrics = opened.use(new Metrics());
  const state = opened.use(new State(options.stateDirectory ?? defaultStateDirectory));
  const events = new Map([...options.pools.keys()].map((id) => [id, new PoolEvents(id)]));
  const jobs = new Jobs(state, log, (pool, job, type) => events.get(pool)?.jobChanged(job, type));
  await jobs.load();
  const pools = new Map<string, ServedPool>();
  const wasThere = new Set<string>();
  for (const [id, path] of options.pools) {
    const told = events.get(id) as PoolEvents;
    const served = new ServedPool({
      id,
      path,
      auditLog,
      log,
      onChange: (change) => {
        metrics.event(id);
        told.changed(change);
      },
      async onState(isAvailable) {
        told.poolChanged(isAvailable, pools.get(id)?.unavailableReason ?? '');
        const pool = pools.get(id);
        if (isAvailable && wasThere.has(id)) told.restart();
        if (isAvailable) wasThere.add(id);
        if (isAvailable && pool) await jobs.settle(id, (job, jobId) => findResult(pool, job, jobId));
      },
    });
    pools.set(id, opened.use(served));
  }
  opened.use(
    new Others(
      auditLog,
      (entry) => {
        for (const pool of pools.values()) pool.heard(entry);
      },
      (line) => [...pools.values()].some((pool) => pool.wrote(line)),
    ),
  );
  const chores = { pools, log, signal: stopping.signal };
  opened.use(applyingPolicies(chores, options.policyTicker ?? usualTicker));
  opened.use(verifyingDue(chores, options.verifyTicker ?? usualTicker));
  const tellExpiry = (error: unknown): void => log.warn('old state not dropped', { reason: String(error) });
  const expiry = setInterval(() => void jobs.expire().catch(tellExpiry), expireEvery);
  opened.defer(() => clearInterval(expiry));

  const context: ServerContext = {
    pools,
    events,
    requests: new Requests(state),
    jobs,
    log,
    auditLog,
    imageDirectories: options.imageDirectories ?? [],
    socketDirectories: options.socketDirectories ?? [],
    hooks: options.hooks ?? new Map(),
    stopping: stopping.signal,
  };
  const handler = makeHandler(context, metrics, options);
  const listeners = await listen(options.listen, handler, log, opened);
  metrics.ready();
  const owned = opened.move();
  return {
    addresses: listeners.map((listener) => listener.address),
    async close() {
      stopping.abort();
      await jobs.stop();
      await Promise.all(listeners.map((listener) => finish(listener)));
      await owned.disposeAsync();
    },
  };
}

function makeHandler(context: ServerContext, metrics: Metrics, options: ServerOptions): NodeHandlerFn {
  const grants = new Grants(options.tokenFile ?? defaultTokenFile, (failure) =>
    context.log.error('tokens unusable', { reason: String(failure) }),
  );
  const calls = makeCalls({ grants, socketScope: options.socketScope, log: context.log, metrics });
  const services = servicesOf(context);
  const viaConnect = connectNodeAdapter({
    routes(router) {
      for (const { service, implementation } of services)
        router.service(service, implementation, {
          readMaxBytes: Math.max(...service.methods.map(mostBytesOf)),
        });
    },
    interceptors: [calls.interceptor],
    // A mistyped "validateOnly" shall not be taken for its absence.
    jsonOptions: { ignoreUnknownFields: false },
    contextValues: (request) => createContextValues().set(credentialsKey, credentialsOf(request)),
    requestGate(handler) {
      const requestId = requestIdOf(handler.requestHeader.get('x-request-id'));
      calls.gate(handler, handler.values.get(credentialsKey), requestId);
    },
    fallback: metricsHandler(metrics, context, (request) =>
      calls.admit('/metrics', credentialsOf(request), randomId()),
    ),
  });
  const setup: UnarySetup = {
    methods: unaryMethods(services),
    mostBytes: mostBytesOf,
    requestIdOf: ({ headers }) => requestIdOf(headers['x-request-id']),
    admit: (request, method, requestId) => calls.admitTo(method, credentialsOf(request), requestId),
    around: calls.around,
  };
  const [viaGrpc, viaJson] = [unaryGrpc(setup), unaryJson(setup)];
  return (request, response) => {
    if ('stream' in request && viaGrpc(request as Http2ServerRequest, response as Http2ServerResponse))
      return;
    // Both versions of HTTP have what is used there.
    if (viaJson(request as IncomingMessage, response as ServerResponse)) return;
    viaConnect(request, response);
  };
}

/** The largest request of a method, in bytes. Whether the server lives may be asked by strangers, who shall not fill its memory. */
function mostBytesOf({ parent, input }: DescMethod): number {
  return parent.typeName === Health.typeName ? 1024 : largestRequest(input);
}

function credentialsOf(request: IncomingMessage | Http2ServerRequest): Credentials {
  const { authorization } = request.headers;
  const socket = 'stream' in request ? request.stream.session?.socket : request.socket;
  return { authorization, peer: peerOf(socket), socket: socket as TLSSocket | undefined };
}

/** Of a caller who has one that logs can have, his own. */
function requestIdOf(given: unknown): string {
  return typeof given === 'string' && /^[A-Za-z0-9._:-]{1,64}$/.test(given) ? given : randomId();
}

async function finish(listener: Listener): Promise<void> {
  const timer = setTimeout(() => listener.destroyAll(), patience);
  await listener.close();
  clearTimeout(timer);
}

/** Other processes write into it where it is there; without it the server still sees what they do, a little later. */
function makeAuditDirectory(auditLog: string, log: Log): void {
  try {
    ensureDirectory(resolve(dirname(auditLog)), 0o750, 'the directory of the audit log');
  } catch (error) {
    if (!(error instanceof CoppiceError) || error.code === 'invalid_argument') throw error;
    log.warn('no audit log', { path: auditLog, reason: error.message });
  }
}
