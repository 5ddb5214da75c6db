import { fstatSync, openSync, readFileSync } from 'node:fs';
import { Descriptor } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';

/** What a password is asked for. */
export interface Login {
  /** `localhost` for a unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

/**
 * Looks up a password in a file of lines `host:port:database:user:password`, where `*` fits all: the first that fits. The format is
 * PostgreSQL's own: https://www.postgresql.org/docs/current/libpq-pgpass.html
 * @throws CoppiceError not_found; permission_denied also where others may read the file
 */
export function passwordFrom(path: string, login: Login): string | undefined {
  const wanted = [login.host, String(login.port), login.database, login.user];
  for (const line of readPrivate(path).split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    // A colon or backslash within a field is written with a backslash before it.
    const fields = line.match(/(\\.|[^:\\])+|(?<=:|^)(?=:)/g) ?? [];
    const [host, port, database, user, ...rest] = fields.map((field) => field.replace(/\\(.)/g, '$1'));
    const given = [host, port, database, user];
    if (rest.length > 0 && given.every((field, index) => field === '*' || field === wanted[index]))
      return rest.join(':');
  }
  return undefined;
}

function readPrivate(path: string): string {
  try {
    using file = new Descriptor(openSync(path, 'r'));
    const { mode, uid } = fstatSync(file.fd);
    if ((mode & 0o077) === 0 && (uid === 0 || uid === process.geteuid?.()))
      return readFileSync(file.fd, 'utf8');
    throw new CoppiceError(
      'permission_denied',
      `The file with passwords ${path} was not used: others than its owner may use it, or it belongs to somebody else; run "chmod 600" on it, as who runs Coppice.`,
    );
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) {
      throw new CoppiceError('not_found', `There is no file with passwords ${path}.`, { cause: error });
    }
    if (hasErrno(error, 'EACCES'))
      throw new CoppiceError('permission_denied', `You may not read the file with passwords ${path}.`, {
        cause: error,
      });
    throw error;
  }
}
