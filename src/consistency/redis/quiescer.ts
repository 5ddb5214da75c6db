import { statSync } from 'node:fs';
import { connect, isIP, type Socket } from 'node:net';
import { isAbsolute, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { monotonicMilliseconds } from '../../linux/monotonic.ts';
import { checkTimeout } from '../../linux/time-limit.ts';
import { connectSocket, peerOf } from '../../linux/unix-socket.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { ApplicationState } from '../../model/metadata.ts';
import {
  type Declaration,
  invalidDeclaration,
  parseDeclaration,
  pathInVolume,
  secondsOf,
} from '../declaration.ts';
import { readPrivateFile } from '../private-file.ts';
import {
  type Preparation,
  type Quiescer,
  type Scope,
  type StepLimits,
  type Subject,
  usualLimits,
} from '../quiescer.ts';
import { ServerPlaces } from '../server-places.ts';
import { RedisConnection } from './connection.ts';
import { findPersistence, type Persistence } from './persistence.ts';

/**
 * `quiesce.redis`: a Redis or Valkey server takes no writes from before the snapshot until after it, and all that it has taken before is in
 * its files. The pause ends by itself, whatever becomes of us.
 * @throws CoppiceError invalid_argument
 */
export function make(name: string, value: string): Quiescer {
  const keys = ['socket', 'host', 'user', 'password-file', 'timeout'];
  const declaration = parseDeclaration(name, value, keys);
  const { fields, where } = declaration;
  for (const key of ['socket', 'password-file']) {
    const path = fields[key];
    if (path !== undefined && !isAbsolute(path))
      throw invalidDeclaration(name, `${key}=${path} must begin with "/"`);
  }
  if ((fields['socket'] === undefined) === (fields['host'] === undefined))
    throw invalidDeclaration(name, 'it needs socket=PATH or host=ADDRESS:PORT');
  if (fields['host'] !== undefined) parseHost(name, fields['host']);
  if (where !== undefined) pathInVolume(declaration);
  return new RedisQuiescer(declaration);
}

/** Milliseconds between two looks at how far the server is. */
const pause = 5;

class RedisQuiescer implements Quiescer {
  readonly name: string;
  readonly level = 'application';
  readonly limits: StepLimits;
  readonly #declaration: Declaration;
  readonly #timeout: number;
  readonly #conversation: AbortController = new AbortController();
  #connection: RedisConnection | undefined;
  #persistence: Persistence | undefined;
  #paused = 0;
  #held: string | undefined;
  #details: Record<string, string> = {};

  constructor(declaration: Declaration) {
    this.name = declaration.name;
    this.#declaration = declaration;
    this.#timeout = checkTimeout(secondsOf(declaration, 'timeout') ?? usualLimits.hold);
    this.limits = { ...usualLimits, hold: this.#timeout };
  }

  async prepare({ subject }: Scope, signal: AbortSignal): Promise<Preparation> {
    signal.addEventListener('abort', () => this.#conversation.abort(signal.reason), { once: true });
    const { fields } = this.#declaration;
    const socket = await this.#connect();
    const connection = new RedisConnection(socket);
    this.#connection = connection;
    const file = fields['password-file'];
    if (file !== undefined) {
      const password = readPrivateFile(file, 'the file with the password').replace(/\r?\n$/, '');
      const user = fields['user'];
      await connection.ask(signal, 'AUTH', ...(user === undefined ? [] : [user]), password);
    }
    const info = await connection.info(signal);
    this.#persistence = await findPersistence(connection, info, signal);
    this.#requirePlace(this.#persistence, subject, peerOf(socket));
    const { kind } = this.#persistence;
    this.#details = { server: serverOf(info), persistence: kind };
    return {};
  }

  async hold(signal: AbortSignal): Promise<void> {
    const [connection, persistence] = [this.#connection, this.#persistence];
    if (!connection || !persistence) throw new Error('nothing is prepared');
    this.#paused = monotonicMilliseconds();
    await connection.ask(signal, 'CLIENT', 'PAUSE', String(Math.round(this.#timeout)), 'WRITE');
    if (persistence.kind === 'AOF') await writeLog(connection, signal);
    else await dump(connection, signal);
    this.#held = stateOf(persistence, await connection.info(signal));
  }

  async release(signal: AbortSignal): Promise<void> {
    const [connection, persistence] = [this.#connection, this.#persistence];
    if (!connection || !persistence || this.#paused === 0) return this.#end();
    const [held, paused] = [this.#held, this.#paused];
    [this.#held, this.#paused] = [undefined, 0];
    try {
      const now = held === undefined ? held : stateOf(persistence, await connection.info(signal));
      const isLate = monotonicMilliseconds() - paused >= this.#timeout;
      await connection.ask(signal, 'CLIENT', 'UNPAUSE');
      if (held !== undefined && (isLate || held !== now)) throw this.#moved(isLate);
    } finally {
      this.#end();
    }
  }

  async finish(): Promise<ApplicationState> {
    const recovery = this.#persistence?.kind === 'AOF' ? 'AOF' : 'none';
    return { name: this.name, level: this.level, recovery, details: this.#details };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
  }

  #end(): void {
    this.#connection?.[Symbol.dispose]();
    this.#conversation.abort();
  }

  #connect(): Promise<Socket> {
    const { socket, host } = this.#declaration.fields;
    if (socket !== undefined) return connectSocket(socket, this.#conversation.signal);
    return connectHost(parseHost(this.name, host ?? ''), this.#conversation.signal);
  }

  #requirePlace({ directory, path }: Persistence, subject: Subject, pid: number): void {
    const { where } = this.#declaration;
    const places = new ServerPlaces(pid, subject);
    // Over TCP nobody says which process it is, and in a container its paths mean nothing here: then it is the user's word.
    if (where !== undefined && pid === 0) {
      statSync(join(subject.directory ?? '', where));
      return;
    }
    places.requireInVolume(directory, 'its data');
    if (places.status(path)) places.requireInVolume(path, 'its data');
    if (where !== undefined) places.requireSame(where, directory);
  }

  #moved(isLate: boolean): CoppiceError {
    const why = isLate
      ? `the snapshot was not complete in ${this.#timeout / 1000} s, which is how long it is paused; a longer time is declared by timeout=`
      : 'it has taken writes meanwhile; did somebody else end the pause?';
    return new CoppiceError('io_error', `The server was not paused all the time: ${why.replace(/\?$/, '')}.`);
  }
}

/** What it has answered for was given to the kernel before, unless its last flush takes long: then what came meanwhile waits. */
async function writeLog(connection: RedisConnection, signal: AbortSignal): Promise<void> {
  for (;;) {
    const info = await connection.info(signal);
    if (info.get('aof_last_write_status') !== 'ok')
      throw new CoppiceError('io_error', 'The server could not write its log; see its own log.');
    if ((info.get('aof_buffer_length') ?? '0') === '0') return;
    await delay(pause);
  }
}

/** Everything into a new dump, unless the last one has it. One that is being made has not all of it. */
async function dump(connection: RedisConnection, signal: AbortSignal): Promise<void> {
  let isAsked = false;
  for (;;) {
    const info = await connection.info(signal);
    if (info.get('rdb_bgsave_in_progress') === '0') {
      const isDone = info.get('rdb_last_bgsave_status') === 'ok';
      if (isDone && info.get('rdb_changes_since_last_save') === '0') return;
      if (isAsked && !isDone)
        throw new CoppiceError('io_error', 'The server could not dump its data; see its own log.');
      await connection.ask(signal, 'BGSAVE');
      isAsked = true;
    }
    await delay(pause);
  }
}

/** What is another one as soon as something was written. */
function stateOf({ kind }: Persistence, info: ReadonlyMap<string, string>): string {
  const names =
    kind === 'AOF'
      ? ['run_id', 'aof_current_size', 'aof_buffer_length']
      : ['run_id', 'rdb_changes_since_last_save', 'rdb_last_save_time'];
  return names.map((name) => info.get(name)).join(' ');
}

function serverOf(info: ReadonlyMap<string, string>): string {
  const valkey = info.get('valkey_version');
  return valkey === undefined ? `Redis ${info.get('redis_version')}` : `Valkey ${valkey}`;
}

interface Host {
  readonly host: string;
  readonly port: number;
}

function parseHost(name: string, text: string): Host {
  const [, host = '', port = ''] =
    /^(?:\[?([0-9a-f.:]+)\]?|localhost):(\d{1,5})$/.exec(text.replace(/^localhost:/, '127.0.0.1:')) ?? [];
  if (isIP(host) !== 0 && Number(port) > 0 && Number(port) < 65_536) return { host, port: Number(port) };
  throw invalidDeclaration(name, `host=${text} is no address with a port, such as 127.0.0.1:6379`);
}

async function connectHost({ host, port }: Host, signal: AbortSignal): Promise<Socket> {
  const socket = connect({ host, port, signal });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (cause) =>
      reject(
        new CoppiceError('io_error', `Could not connect to ${host}:${port}: ${cause.message}.`, { cause }),
      ),
    );
  });
  socket.on('error', () => undefined);
  return socket;
}
