import { type ChildProcess, spawn } from 'node:child_process';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { User } from '../../linux/connect-as.ts';
import { monotonicMilliseconds } from '../../linux/monotonic.ts';
import { environment } from '../../linux/programs.ts';
import { checkTimeout, timeLimit } from '../../linux/time-limit.ts';
import { CoppiceError } from '../../model/errors.ts';
import { openDataDirectory } from './data-directory.ts';
import { makeSafe, type SafeOptions } from './make-safe.ts';
import { serverOf } from './open-session.ts';
import { commandAs, findPrograms } from './programs.ts';
import { type Row, Session } from './session.ts';

export interface StartOptions extends SafeOptions {
  /** The role to connect as; it must be a superuser for the checks. "postgres" when absent. */
  readonly user?: string;
  /** Milliseconds for the recovery; ten minutes when absent. */
  readonly timeoutMilliseconds?: number;
  readonly signal?: AbortSignal;
}

/** A server on a copy, which runs until it is stopped, disposed of, or we end. */
export interface RunningCopy extends AsyncDisposable {
  readonly path: string;
  readonly owner: User;
  readonly version: number;
  readonly programs: string;
  readonly socketDirectory: string;
  readonly port: number;
  readonly user: string;
  /** From its start until it answered. */
  readonly recoveryMilliseconds: number;
  /** What it has logged, the last of it. */
  log(): string;
  query(text: string, database?: string): Promise<readonly Row[]>;
  /** Shuts it down, so that its files can be checked. @throws CoppiceError io_error where it did not end well */
  stop(): Promise<void>;
}

/**
 * Makes a copy of a data directory safe, and starts a server on it, as the owner of the cluster. Its socket is the only way in.
 * @param copy the directory of the copy of the volume
 * @throws CoppiceError damaged when it does not recover; missing_tool; and those of `makeSafe`
 */
export async function startCopy(copy: string, options: StartOptions): Promise<RunningCopy> {
  const timeout = checkTimeout(options.timeoutMilliseconds ?? 600_000);
  using limit = timeLimit(timeout, `it has not recovered within ${timeout / 1000} s.`, options.signal);
  await makeSafe(copy, options);
  using directory = openDataDirectory(copy, options.below);
  const { path, owner, version } = directory;
  requirePrivate(options.socketDirectory, owner);
  const programs = findPrograms(version, options.programs);
  const server = launch(owner, join(programs, 'postgres'), path);
  const began = monotonicMilliseconds();
  const { socketDirectory, port = 5432, user = 'postgres' } = options;
  const session = (database: string, signal: AbortSignal): Promise<Session> =>
    Session.open(
      {
        at: { socketDirectory },
        port,
        user,
        database,
        as: owner,
        server: serverOf(directory),
        password: () => undefined,
      },
      signal,
    );
  try {
    await ready(server, (signal) => session('template1', signal), limit.signal);
  } catch (error) {
    await server.kill();
    throw notRecovered(path, server.log(), error);
  }
  return {
    path,
    owner,
    version,
    programs,
    socketDirectory,
    port,
    user,
    recoveryMilliseconds: monotonicMilliseconds() - began,
    log: server.log,
    async query(text, database = 'postgres') {
      const patience = new AbortController().signal;
      await using opened = await session(database, patience);
      return await opened.query(text, patience, { what: 'answer' });
    },
    stop: () => server.stop(),
    [Symbol.asyncDispose]: () => server.kill(),
  };
}

interface Server {
  readonly ended: Promise<number | null>;
  isRunning(): boolean;
  log(): string;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

function launch(owner: User, program: string, path: string): Server {
  // Whatever of the settings could be said by the environment is not.
  // The kernel forgets whom to tell of our death where the user changes, so it is asked for after that.
  const [command, args] = commandAs(owner, 'setpriv', ['--pdeathsig=QUIT', '--', program, '-D', path]);
  const child: ChildProcess = spawn(command, args, {
    env: { PATH: environment.PATH, LC_ALL: 'C' },
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true, // Ctrl-C is for us, and we end it
  });
  let [text, isRunning] = ['', true];
  child.stderr?.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString('utf8')).slice(-50_000);
  });
  const ended = new Promise<number | null>((resolve) => {
    const end = (code: number | null): void => {
      isRunning = false;
      resolve(code);
    };
    child.on('exit', end);
    child.on('error', () => end(null));
  });
  return {
    ended,
    isRunning: () => isRunning,
    log: () => text,
    async stop() {
      child.kill('SIGINT');
      const code = await ended;
      if (code !== 0)
        throw new CoppiceError(
          'io_error',
          `The server on ${path} did not shut down well: ${lastWords(text)}.`,
        );
    },
    async kill() {
      if (isRunning) child.kill('SIGQUIT');
      await ended;
    },
  };
}

/** Recovery lasts as long as it lasts; meanwhile the server takes nobody. */
async function ready(
  server: Server,
  connect: (signal: AbortSignal) => Promise<Session>,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    if (!server.isRunning()) throw new Error('it has ended');
    try {
      await using session = await connect(signal);
      const [row] = await session.query('SELECT pg_is_in_recovery() AS recovering', signal, {
        what: 'answer',
      });
      if (row?.['recovering'] === false) return;
    } catch (error) {
      const isEarly = error instanceof CoppiceError && ['busy', 'not_found', 'io_error'].includes(error.code);
      if (!isEarly || signal.aborted) throw error;
    }
    await Promise.race([sleep(50), server.ended]);
  }
}

function requirePrivate(directory: string, owner: User): void {
  const { mode, uid } = lstatSync(directory);
  if ((mode & 0o077) === 0 && (mode & 0o170000) === 0o040000 && uid === owner.uid) return;
  throw new CoppiceError(
    'invalid_argument',
    `The directory ${directory} for the socket of a copy must belong to user ${owner.uid} with mode 700: who can enter it can do anything in the copy.`,
  );
}

function notRecovered(path: string, log: string, error: unknown): CoppiceError {
  if (error instanceof CoppiceError && ['cancelled', 'permission_denied'].includes(error.code)) return error;
  const why =
    error instanceof Error && !/it has ended/.test(error.message) ? error.message.replace(/\.$/, '') : '';
  const code = isOfTheHost(error, log) ? 'io_error' : 'damaged';
  return new CoppiceError(
    code,
    `No server could be started on ${path}: ${[why, lastWords(log)].filter(Boolean).join('; ')}.`,
    { cause: error },
  );
}

/** What says nothing of the copy: it might have recovered with more time, or space. */
function isOfTheHost(error: unknown, log: string): boolean {
  const isLate = error instanceof Error && /has not recovered within/.test(error.message);
  return isLate || /No space left on device|Cannot allocate memory|Disk quota exceeded/.test(log);
}

/** What it was that ended it, or else the last line. */
function lastWords(log: string): string {
  const lines = log.trim().split('\n');
  const line = lines.findLast(
    (each) => /\b(PANIC|FATAL):/.test(each) && !/system is (starting|not yet)/.test(each),
  );
  return (
    (line ?? lines.at(-1) ?? '').replace(/^.*?(PANIC|FATAL|LOG|ERROR): +/, '').slice(0, 300) ||
    'it said nothing'
  );
}
