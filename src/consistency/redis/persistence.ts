import { join } from 'node:path';
import { CoppiceError } from '../../model/errors.ts';
import type { RedisConnection } from './connection.ts';

/** How a server keeps its data. */
export interface Persistence {
  /** By a log of all writes, or by dumps of everything now and then. Where there are both, a start reads the log. */
  readonly kind: 'AOF' | 'RDB';
  /** The server's own path of the directory in which they are. */
  readonly directory: string;
  /** What a start reads, from there. */
  readonly path: string;
}

/** @throws CoppiceError unsupported where a snapshot could not be of what the server holds */
export async function findPersistence(
  connection: RedisConnection,
  info: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<Persistence> {
  const setting = async (name: string): Promise<string> => {
    const reply = await connection.ask(signal, 'CONFIG', 'GET', name);
    return Array.isArray(reply) ? String(reply[1] ?? '') : '';
  };
  if (info.get('loading') !== '0' && info.has('loading'))
    throw new CoppiceError('busy', 'The server is still loading its data; try again when it has.');
  if (info.get('role') !== 'master') {
    throw new CoppiceError(
      'unsupported',
      'The server is a replica, which writes whatever its primary sends and can not be held; take the snapshot on the primary, or declare freeze for this one.',
    );
  }
  const directory = await setting('dir');
  if (info.get('aof_enabled') === '1') {
    if (info.get('aof_last_write_status') !== 'ok')
      throw new CoppiceError(
        'io_error',
        'The server could not write its log the last time; see its own log.',
      );
    // Before version 7 it is one file.
    const path = (await setting('appenddirname')) || (await setting('appendfilename'));
    return { kind: 'AOF', directory, path: join(directory, path) };
  }
  if ((await setting('save')) === '') {
    throw new CoppiceError(
      'unsupported',
      'The server keeps nothing on disk (appendonly no, save ""), so no snapshot has what it holds; set one of the two.',
    );
  }
  return { kind: 'RDB', directory, path: join(directory, await setting('dbfilename')) };
}
