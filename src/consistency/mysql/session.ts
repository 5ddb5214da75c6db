import type { Socket } from 'node:net';
import type { Connection } from 'mysql2/promise';
import { CoppiceError } from '../../model/errors.ts';

export type Row = Readonly<Record<string, unknown>>;

/** One connection: what is locked in it is free when it ends, however it does. */
export interface MysqlSession extends Disposable {
  /** @throws CoppiceError; what the signal says, and then the connection is gone */
  query(sql: string, signal: AbortSignal): Promise<readonly Row[]>;
}

export interface Credentials {
  readonly user: string;
  readonly password: string | undefined;
}

/**
 * @param socket connected already; it is this one's from here on
 * @throws CoppiceError permission_denied; io_error
 */
export async function openMysql(
  socket: Socket,
  { user, password }: Credentials,
  signal: AbortSignal,
): Promise<MysqlSession> {
  const { createConnection } = await import('./mysql-client.ts');
  const end = (): void => void socket.destroy();
  const opening = createConnection({
    stream: socket,
    user,
    ...(password !== undefined && { password }),
    multipleStatements: false,
    supportBigNumbers: true,
    bigNumberStrings: true,
  });
  const connection = await within(signal, opening, end).catch((error) => {
    end();
    throw explained(error);
  });
  let lost: Error | undefined;
  connection.on('error', (error: Error) => {
    lost ??= error;
  });
  return {
    async query(sql, limit) {
      if (lost) throw explained(lost);
      return await within(limit, rowsOf(connection, sql), end).catch((error) => {
        throw explained(error);
      });
    },
    [Symbol.dispose]: end,
  };
}

async function rowsOf(connection: Connection, sql: string): Promise<readonly Row[]> {
  const [rows] = await connection.query(sql);
  return Array.isArray(rows) ? (rows as Row[]) : [];
}

async function within<T>(signal: AbortSignal, promise: Promise<T>, end: () => void): Promise<T> {
  let abort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => {
      end();
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
    promise.catch(() => undefined);
  }
}

/** What the server says has no password in it. */
function explained(error: unknown): unknown {
  if (error instanceof CoppiceError || !(error instanceof Error)) return error;
  const code = 'code' in error ? String(error.code) : '';
  const message = error.message.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 300);
  if (/ACCESS_DENIED|PRIVILEGE/.test(code)) {
    return new CoppiceError(
      'permission_denied',
      `The database server refuses: ${message}. Name another user by user= or defaults-file=, or give this one the rights RELOAD, PROCESS and BINLOG MONITOR (MySQL: BACKUP_ADMIN, RELOAD, PROCESS and REPLICATION CLIENT).`,
      { cause: error },
    );
  }
  return new CoppiceError('io_error', `The database server has failed: ${message}.`, { cause: error });
}
