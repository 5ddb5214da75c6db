import { CoppiceError, type ErrorCode } from '../../model/errors.ts';

/** What was being done when the server refused, and which right it takes. */
export interface Attempt {
  /** As in "could not ...". */
  readonly what: string;
  /** For a sentence: `PostgreSQL in /pool/volumes/db/active/pg`. */
  readonly server: string;
  readonly user: string;
  /** The statements that give a lesser role that right. */
  readonly grant?: string;
}

/** The sentence for what the client or the server has said; an error of ours stays as it is. */
export function explainFailure(error: unknown, attempt: Attempt): CoppiceError {
  if (error instanceof CoppiceError) return error;
  const { message, code } = error as Error & { readonly code?: string };
  const said = message.replace(/\.$/, '');
  const [errorCode, advice] = meanings[code ?? '']?.(attempt) ?? ['io_error', `it said "${said}"`];
  const detail = advice.includes(said) ? '' : ` (it said "${said}")`;
  return new CoppiceError(errorCode, `${attempt.server}: could not ${attempt.what}: ${advice}${detail}.`, {
    cause: error,
  });
}

type Meaning = (attempt: Attempt) => [ErrorCode, string];

/** By SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html, and by errno. */
const meanings: Readonly<Record<string, Meaning>> = {
  '28P01': ({ user }) => [
    'permission_denied',
    `the password of role "${user}" is wrong or missing; write it into a file for passfile=PATH, as localhost:*:*:${user}:PASSWORD`,
  ],
  '28000': ({ user }) => [
    'permission_denied',
    `the server does not let role "${user}" in; Coppice connects as the user that owns the data directory, so a line such as "local all ${user} peer" in pg_hba.conf, for another name of role with a map in pg_ident.conf, lets it in`,
  ],
  '3D000': () => [
    'not_found',
    'there is no such database to connect to; name one by database=, of any cluster template1 will do',
  ],
  '42501': ({ user, grant }) => [
    'permission_denied',
    `role "${user}" has no right to${grant ? `; a superuser gives it by: ${grant}` : ''}`,
  ],
  '53300': ({ user }) => [
    'busy',
    `there are too many connections; try again, raise max_connections, or let role "${user}" use those that are reserved by GRANT pg_use_reserved_connections TO "${user}" (PostgreSQL 16 or newer)`,
  ],
  '53400': () => [
    'unsupported',
    'all replication slots are in use, and one is needed to keep the WAL while the snapshot is taken: raise max_replication_slots',
  ],
  '55000': () => ['unsupported', 'the server is not set up for it, or somebody else is just doing the same'],
  '57P01': () => ['io_error', 'the server has ended the connection; is it being stopped?'],
  '57P02': () => ['io_error', 'the server has crashed meanwhile, and no snapshot was taken'],
  '57P03': () => [
    'busy',
    'the server takes no connections yet, or none any more; try again when it is ready',
  ],
  EAGAIN: () => ['busy', 'too many others wait for its socket'],
  ECONNREFUSED: () => ['io_error', 'nobody listens there; is the server running, and on that port?'],
  ENOENT: () => [
    'not_found',
    'there is no such socket; name its directory by socket=DIRECTORY, and the port by port=, if they are not those of postmaster.pid',
  ],
  EACCES: () => ['permission_denied', 'you may not use its socket'],
  EPERM: () => [
    'permission_denied',
    'the owner of the data directory could not be become for it: the capabilities CAP_SETUID and CAP_SETGID are missing',
  ],
};
