import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { type CoppiceClient, connectCoppice } from '../../src/client/index.ts';
import { scratchDirectory } from './devices.ts';

/** Milliseconds after which a daemon that says nothing has failed; a busy machine takes seconds to start one from its sources. */
const patience = 60_000;

export interface DaemonPlace {
  readonly socket: string;
  readonly state: string;
  readonly auditLog: string;
  readonly tokens: string;
}

export interface Daemon extends AsyncDisposable {
  readonly client: CoppiceClient;
  readonly pid: number;
  /** What it has said, line by line. */
  readonly log: ReadonlyArray<Readonly<Record<string, unknown>>>;
  /** Another connection. */
  connect(): CoppiceClient;
  /** Waits until it has said something. */
  said(message: string, fields?: Readonly<Record<string, unknown>>): Promise<void>;
  /** Ends it as a system does. Returns its exit code. */
  stop(): Promise<number | null>;
  /** kill -9 */
  kill(): Promise<void>;
}

/** Where a daemon has its files: the same for one that is started again. */
export function daemonPlace(directory: string = scratchDirectory('daemon')): DaemonPlace {
  const run = join(directory, 'run');
  mkdirSync(run, { recursive: true, mode: 0o755 });
  return {
    socket: join(run, 'coppice.sock'),
    state: join(directory, 'state'),
    auditLog: join(directory, 'log', 'audit.jsonl'),
    tokens: join(directory, 'tokens.json'),
  };
}

/** The command as its sources; `built` starts faster, and is what users have. */
export const sources: readonly string[] = [join(import.meta.dirname, '../../src/cli/main.ts')];

/** A daemon as a process of its own. Ready: it listens. */
export async function startDaemon(
  pools: Readonly<Record<string, string>>,
  place: DaemonPlace,
  {
    flags = [],
    command = sources,
  }: { readonly flags?: readonly string[]; readonly command?: readonly string[] } = {},
): Promise<Daemon> {
  const named = Object.entries(pools).flatMap(([name, path]) => ['--pool', `${name}=${path}`]);
  const own = [
    '--socket',
    place.socket,
    '--state',
    place.state,
    '--audit-log',
    place.auditLog,
    '--tokens',
    place.tokens,
  ];
  const child = spawn(process.execPath, [...command, 'serve', ...named, ...own, ...flags], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  // A test that is killed takes it along.
  const killAtExit = (): void => void child.kill('SIGKILL');
  process.on('exit', killAtExit);
  const ended = endOf(child).finally(() => process.off('exit', killAtExit));
  const log: Array<Readonly<Record<string, unknown>>> = [];
  const waiting: Array<() => void> = [];
  let rest = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    log.push(...lines.map(parse));
    for (const tell of waiting.splice(0)) tell();
  });
  const clients: CoppiceClient[] = [];
  const connect = (): CoppiceClient => {
    const client = connectCoppice({ socket: place.socket });
    clients.push(client);
    return client;
  };
  const said: Daemon['said'] = async (message, fields = {}) => {
    const isIt = (line: Readonly<Record<string, unknown>>): boolean =>
      line['message'] === message && Object.entries(fields).every(([name, value]) => line[name] === value);
    const late = Date.now() + patience;
    while (!log.some(isIt)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push(resolve);
      const timer = setTimeout(resolve, Math.max(0, late - Date.now()));
      const over = await Promise.race([promise, ended.then(() => 'over' as const)]);
      clearTimeout(timer);
      if ((over && !log.some(isIt)) || Date.now() >= late)
        throw new Error(`The daemon never said "${message}": ${JSON.stringify(log)}${rest}`);
    }
  };
  const finish = async (signal: NodeJS.Signals): Promise<number | null> => {
    child.kill(signal);
    const code = await ended;
    for (const client of clients) client.close();
    return code;
  };
  const daemon: Daemon = {
    client: connect(),
    pid: child.pid ?? 0,
    log,
    connect,
    said,
    stop: () => finish('SIGTERM'),
    kill: async () => void (await finish('SIGKILL')),
    [Symbol.asyncDispose]: async () => void (await finish('SIGKILL')),
  };
  try {
    await said('listening');
  } catch (error) {
    await daemon.kill();
    throw error;
  }
  return daemon;
}

export interface JsonAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** A call as curl makes it. */
export function postJson(
  socketPath: string,
  method: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<JsonAnswer> {
  return new Promise((resolve, reject) => {
    const options = {
      socketPath,
      method: 'POST',
      path: `/${method}`,
      headers: { 'content-type': 'application/json', ...headers },
      agent: false,
    } as const;
    const asked = request(options, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: parse(text), text }));
      answer.on('error', reject);
    });
    asked.on('error', reject);
    asked.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
}

function endOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => {
    child.on('close', (code) => resolve(code));
    child.on('error', () => resolve(null));
  });
}

function parse(line: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return { text: line };
  }
}
