import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Pool } from '../../src/index.ts';
import type { Scope } from '../../src/server/auth/scopes.ts';
import type { TlsAddress } from '../../src/server/listen/tls.ts';
import { makeLog } from '../../src/server/log.ts';
import type { Ticker } from '../../src/server/pools/policies.ts';
import { type RunningServer, startServer } from '../../src/server/server.ts';
import { scratchDirectory } from './devices.ts';
import { makeTestPool } from './test-pool.ts';

export interface TestServer extends AsyncDisposable {
  readonly server: RunningServer;
  /** The pools on the file system, opened by this process as another would. */
  readonly pools: Readonly<Record<string, Pool>>;
  readonly socket: string;
  readonly tokenFile: string;
  readonly stateDirectory: string;
  /** Where it listens with TLS. */
  readonly url: string;
  /** The lines of its log, since the last time they were taken. */
  takeLog(): Array<Readonly<Record<string, unknown>>>;
}

export interface TestServerOptions {
  /** What clients call the pools that are made for it; all lie in one. */
  readonly pools?: readonly string[];
  readonly tls?: Omit<TlsAddress, 'host' | 'port'>;
  readonly socketScope?: Scope;
  readonly group?: number;
  readonly directory?: string;
  readonly policyTicker?: Ticker;
  readonly verifyTicker?: Ticker;
}

function isOpened(line: string, name: string): boolean {
  return line.includes('"pool available"') && line.includes(`"pool":"${name}"`);
}

/** The server in this process, on pools of its own, at a unix socket and, with a certificate, at a free port. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const { pools: names = ['vms'], tls, socketScope = 'write', group } = options;
  await using made = new AsyncDisposableStack();
  const homes = [];
  for (const name of names) homes.push({ name, home: made.use(await makeTestPool()) });
  const directory = options.directory ?? scratchDirectory('server');
  const socket = join(directory, 'coppice.sock');
  const [tokenFile, stateDirectory] = [join(directory, 'tokens.json'), join(directory, 'state')];
  const lines: string[] = [];
  const server = await startServer({
    pools: new Map(homes.map(({ name, home }) => [name, home.path])),
    listen: {
      unix: { path: socket, ...(group !== undefined && { group }) },
      tls: tls ? [{ ...tls, host: '127.0.0.1', port: 0 }] : [],
    },
    socketScope,
    stateDirectory,
    auditLog: join(directory, 'audit.jsonl'),
    tokenFile,
    ...(options.policyTicker && { policyTicker: options.policyTicker }),
    ...(options.verifyTicker && { verifyTicker: options.verifyTicker }),
    log: makeLog((line) => lines.push(line), 'debug'),
  });
  made.defer(() => server.close());
  while (names.some((name) => !lines.some((line) => isOpened(line, name)))) await pause(5);
  const all = made.move();
  return {
    server,
    pools: Object.fromEntries(homes.map(({ name, home }) => [name, home.pool])),
    socket,
    tokenFile,
    stateDirectory,
    url: server.addresses.find((address) => address.startsWith('https:')) ?? '',
    takeLog: () => lines.splice(0).map((line) => JSON.parse(line) as Record<string, unknown>),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
