import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from './debian.ts';
import { scratchDirectory } from './devices.ts';
import { runDirectory } from './run-directory.ts';

export const mariadbd = '/usr/sbin/mariadbd';

export interface Mariadb extends AsyncDisposable {
  readonly pid: number;
  readonly socket: string;
  /** Rows as its own client prints them, without headings. */
  query(sql: string): string;
  /** The same by another user. */
  queryAs(user: string, password: string, sql: string): string;
  /** Everything that it has said. */
  log(): string;
  /** Ends it, as a person would. */
  stop(): Promise<void>;
}

const small = ['--innodb-buffer-pool-size=16M', '--innodb-log-file-size=8M'];

/** Puts a new database into a directory. */
export function createMariadb(data: string): void {
  makeWay();
  mkdirSync(data, { mode: 0o755 });
  const owner = Number(run('id', ['-u', 'mysql']));
  chownSync(data, owner, Number(run('id', ['-g', 'mysql'])));
  const options = ['--no-defaults', '--user=mysql', `--datadir=${data}`, '--skip-test-db', ...small];
  run('mariadb-install-db', [...options, '--auth-root-authentication-method=socket']);
}

/** Starts a server on a directory, and waits until it answers. */
export async function startMariadb(data: string, options: readonly string[] = []): Promise<Mariadb> {
  const directory = scratchDirectory('mariadb');
  chownSync(directory, Number(run('id', ['-u', 'mysql'])), 0);
  const [socket, log] = [join(directory, 'socket'), join(directory, 'log')];
  const child = spawn(
    mariadbd,
    [
      ...['--no-defaults', '--user=mysql', '--skip-networking', ...small],
      ...[`--datadir=${data}`, `--socket=${socket}`, `--log-error=${log}`],
      ...[`--pid-file=${join(directory, 'pid')}`, ...options],
    ],
    { stdio: 'ignore' },
  );
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const said = (): string => (existsSync(log) ? readFileSync(log, 'utf8') : '');
  const client = (access: readonly string[], sql: string): string =>
    run('mariadb', ['--no-defaults', `--socket=${socket}`, ...access, '-NB', '-e', sql]);
  const isUp = (): boolean =>
    existsSync(socket) &&
    spawnSync('mariadb', ['--no-defaults', `--socket=${socket}`, '-e', 'SELECT 1']).status === 0;
  while (!isUp()) {
    if (child.exitCode !== null) throw new Error(`MariaDB did not start: ${said()}`);
    await delay(50);
  }
  const stop = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode === null) child.kill('SIGCONT');
    if (child.exitCode === null) child.kill(signal);
    await ended;
  };
  return {
    pid: child.pid ?? 0,
    socket,
    log: said,
    query: (sql) => client([], sql),
    queryAs: (user, password, sql) => client([`--user=${user}`, `--password=${password}`], sql),
    stop: () => stop('SIGTERM'),
    [Symbol.asyncDispose]: () => stop('SIGKILL'),
  };
}

/** The directory of a run is its user's alone, and the server runs as another one. */
function makeWay(): void {
  chmodSync(runDirectory(), 0o711);
}
