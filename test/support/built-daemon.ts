import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { connectCoppice, PoolState, poolName } from '../../src/client/index.ts';
import { builtCommand } from './built.ts';
import { scratchDirectory } from './devices.ts';

/** The built daemon, as a process of its own. */
export interface Daemon extends AsyncDisposable {
  readonly socket: string;
  readonly process: ChildProcess;
  /** What it has logged, a line of JSON each. */
  readonly log: () => string;
  /** Tells it to end, and says how it did. */
  end(): Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

/** Starts it, and waits until its pool `default` can be used. */
export async function startDaemon(pool: string, ...flags: readonly string[]): Promise<Daemon> {
  const directory = scratchDirectory('daemon');
  const socket = join(directory, 'run/coppice.sock');
  const own = ['--socket', socket, '--state', join(directory, 'state')];
  const audit = [
    '--audit-log',
    join(directory, 'audit/log.jsonl'),
    '--tokens',
    join(directory, 'tokens.json'),
  ];
  const child = spawn(
    process.execPath,
    [builtCommand(), 'serve', '--pool', pool, ...own, ...audit, ...flags],
    { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' },
  );
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  const end = async (): ReturnType<Daemon['end']> => {
    child.kill('SIGTERM');
    const [code, signal] = await ended;
    return { code, signal };
  };
  try {
    while (!log.includes('"listening"')) {
      const said = await Promise.race([once(child.stderr, 'data'), ended.then(() => undefined)]);
      if (!said) throw new Error(`the daemon has ended: ${log}`);
    }
    await untilAvailable(socket);
  } catch (error) {
    await end();
    throw error;
  }
  return {
    socket,
    process: child,
    log: () => log,
    end,
    [Symbol.asyncDispose]: async () => void (await end()),
  };
}

async function untilAvailable(socket: string): Promise<void> {
  using coppice = connectCoppice({ socket });
  const isAvailable = async (): Promise<boolean> =>
    (await coppice.pools.getPool({ name: poolName('default') })).state === PoolState.AVAILABLE;
  while (!(await isAvailable())) await new Promise((resolve) => setTimeout(resolve, 20));
}
