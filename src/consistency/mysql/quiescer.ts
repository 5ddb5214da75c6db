import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
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
import { type Preparation, type Quiescer, type Scope, type StepLimits, usualLimits } from '../quiescer.ts';
import { ServerPlaces } from '../server-places.ts';
import { readDefaultsFile } from './defaults-file.ts';
import { chooseRecipe, type Recipe, type Server } from './recipes.ts';
import { type MysqlSession, openMysql, type Row } from './session.ts';

/**
 * `quiesce.mysql`: a MariaDB or MySQL server commits nothing and changes no table from before the snapshot until after it. Its lock
 * belongs to one connection, so that it ends with us, whatever ends us.
 * @throws CoppiceError invalid_argument
 */
export function make(name: string, value: string): Quiescer {
  const declaration = parseDeclaration(name, value, ['socket', 'user', 'defaults-file', 'timeout']);
  for (const key of ['socket', 'defaults-file']) {
    const path = declaration.fields[key];
    if (path !== undefined && !isAbsolute(path))
      throw invalidDeclaration(name, `${key}=${path} must begin with "/"`);
  }
  if (declaration.where !== undefined) pathInVolume(declaration);
  return new MysqlQuiescer(declaration);
}

const usualSocket = '/run/mysqld/mysqld.sock';

/** What has to be in the snapshot for a start, and what the server calls where it is. */
const placeNames: Readonly<Record<string, string>> = {
  innodb_data_home_dir: 'its tables',
  innodb_log_group_home_dir: 'its redo log',
  innodb_undo_directory: 'its undo logs',
  aria_log_dir_path: 'the log of Aria',
};

class MysqlQuiescer implements Quiescer {
  readonly name: string;
  readonly level = 'application';
  readonly limits: StepLimits;
  readonly #declaration: Declaration;
  readonly #timeout: number;
  readonly #conversation: AbortController = new AbortController();
  #session: MysqlSession | undefined;
  #recipe: Recipe | undefined;
  #isHeld = false;
  #details: Record<string, string> = {};

  constructor(declaration: Declaration) {
    this.name = declaration.name;
    this.#declaration = declaration;
    this.#timeout = checkTimeout(secondsOf(declaration, 'timeout') ?? usualLimits.hold);
    this.limits = { ...usualLimits, hold: this.#timeout };
  }

  async prepare({ subject }: Scope, signal: AbortSignal): Promise<Preparation> {
    const { fields, where } = this.#declaration;
    const file = fields['defaults-file'];
    const access = file === undefined ? {} : readDefaultsFile(file);
    const path = fields['socket'] ?? access.socket ?? usualSocket;
    const user = fields['user'] ?? access.user ?? userInfo().username;
    signal.addEventListener('abort', () => this.#conversation.abort(signal.reason), { once: true });
    const socket = await connectSocket(path, this.#conversation.signal);
    const pid = peerOf(socket);
    const session = await openMysql(socket, { user, password: access.password }, signal);
    this.#session = session;
    const server = await meet(session, this.#timeout, signal);
    await requirePlaces(session, new ServerPlaces(pid, subject), where, signal);
    await position(session, signal); // whether it may be asked, before anybody waits for the answer
    this.#recipe = await chooseRecipe(session, server, signal);
    this.#details = { server: server.version, recipe: this.#recipe.name };
    return {};
  }

  async hold(signal: AbortSignal): Promise<void> {
    const [session, recipe] = [this.#session, this.#recipe];
    if (!session || !recipe) throw new Error('nothing is prepared');
    for (const each of recipe.hold) await session.query(each, signal);
    Object.assign(this.#details, await position(session, signal));
    this.#isHeld = true;
  }

  async release(signal: AbortSignal): Promise<void> {
    const [session, recipe] = [this.#session, this.#recipe];
    if (!session || !recipe) return;
    try {
      if (!this.#isHeld) return;
      for (const each of recipe.release) await session.query(each, signal);
    } finally {
      this.#isHeld = false;
      this.#end();
    }
  }

  async finish(): Promise<ApplicationState> {
    return { name: this.name, level: this.level, recovery: 'redo', details: this.#details };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
  }

  #end(): void {
    this.#session?.[Symbol.dispose]();
    this.#session = undefined;
    this.#conversation.abort();
  }
}

async function meet(session: MysqlSession, timeout: number, signal: AbortSignal): Promise<Server> {
  const seconds = Math.max(1, Math.ceil(timeout / 1000));
  await session.query(
    `SET SESSION lock_wait_timeout = ${seconds}, SESSION wait_timeout = ${seconds + 600}`,
    signal,
  );
  const [row] = await session.query('SELECT VERSION() AS version', signal);
  const text = String(row?.['version'] ?? '');
  const version = /^\d+\.\d+(\.\d+)?/.exec(text)?.[0];
  if (version === undefined)
    throw new CoppiceError(
      'unsupported',
      `The database server says that its version is "${text.slice(0, 80)}".`,
    );
  return { version: text.slice(0, 80), isMariadb: /mariadb/i.test(text) };
}

async function requirePlaces(
  session: MysqlSession,
  places: ServerPlaces,
  where: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const names = ['datadir', ...Object.keys(placeNames)].map((name) => `'${name}'`).join(', ');
  const rows = await session.query(`SHOW GLOBAL VARIABLES WHERE Variable_name IN (${names})`, signal);
  const values = new Map(rows.map((row) => [String(row['Variable_name']), String(row['Value'] ?? '')]));
  const data = values.get('datadir') ?? '';
  places.requireInVolume(data, 'its data');
  if (where !== undefined) places.requireSame(where, data);
  for (const [name, what] of Object.entries(placeNames)) {
    const value = values.get(name) ?? '';
    if (value !== '') places.requireInVolume(isAbsolute(value) ? value : join(data, value), what);
  }
  const [stray] = places.strays(data);
  if (stray === undefined) return;
  throw new CoppiceError(
    'invalid_argument',
    `A part of the data of the server lies elsewhere, behind ${stray}, so a snapshot of the volume would not have it; move it into the volume.`,
  );
}

/** Where the log of changes (binary log) stands, for whoever sets up a replica from the snapshot, or wants to go on from there. */
async function position(session: MysqlSession, signal: AbortSignal): Promise<Record<string, string>> {
  const row =
    (await rowOf(session, 'SHOW MASTER STATUS', signal)) ??
    (await rowOf(session, 'SHOW BINARY LOG STATUS', signal));
  if (row?.['File'] === undefined) return {};
  const gtid =
    (await rowOf(session, 'SELECT @@GLOBAL.gtid_binlog_pos AS gtid', signal)) ??
    (await rowOf(session, 'SELECT @@GLOBAL.gtid_executed AS gtid', signal));
  const text = String(gtid?.['gtid'] ?? '').replace(/\s+/g, '');
  return {
    binlog: `${row['File']}:${row['Position']}`,
    ...(text !== '' && { gtid: text.slice(0, 500) }),
  };
}

/** Undefined also where the server does not know such a question. */
async function rowOf(session: MysqlSession, sql: string, signal: AbortSignal): Promise<Row | undefined> {
  try {
    return (await session.query(sql, signal))[0];
  } catch (error) {
    if (error instanceof CoppiceError && isUnknown(error.cause)) return undefined;
    throw error;
  }
}

function isUnknown(cause: unknown): boolean {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return ['ER_PARSE_ERROR', 'ER_UNKNOWN_SYSTEM_VARIABLE'].includes(code);
}
