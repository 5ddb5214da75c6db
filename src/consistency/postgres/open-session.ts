import { CoppiceError } from '../../model/errors.ts';
import type { DataDirectory } from './data-directory.ts';
import type { PostgresDeclaration } from './declaration.ts';
import { passwordFrom } from './pass-file.ts';
import type { PostmasterFile } from './postmaster-file.ts';
import { worksIn } from './server-processes.ts';
import { type Peer, Session } from './session.ts';

export interface OpenedSession {
  readonly session: Session;
  /** The kernel has told that who answers works in this very directory. */
  readonly isProven: boolean;
}

/**
 * Connects to the server of a data directory. What stands in `postmaster.pid` may come from anybody, so it leads to no more than a
 * socket of this machine, at which the owner of the directory must be listening.
 * @throws CoppiceError
 */
export async function openSession(
  directory: DataDirectory,
  declaration: PostgresDeclaration,
  file: PostmasterFile | undefined,
  signal: AbortSignal,
): Promise<OpenedSession> {
  const { host, user, database, passfile } = declaration;
  const port = declaration.port ?? file?.port ?? 5432;
  const socketDirectory = declaration.socket ?? file?.socketDirectory;
  if (host === undefined && socketDirectory === undefined) {
    throw new CoppiceError(
      'invalid_argument',
      `${serverOf(directory)} has no socket in its postmaster.pid: name its directory by socket=DIRECTORY, or connect by host=localhost.`,
    );
  }
  const at = host === undefined ? { socketDirectory: socketDirectory ?? '' } : { host };
  const login = { host: host ?? 'localhost', port, database, user };
  let isProven = false;
  const session = await Session.open(
    {
      at,
      port,
      user,
      database,
      as: directory.owner,
      server: serverOf(directory),
      password: () => {
        const password = passfile === undefined ? undefined : passwordFrom(passfile, login);
        if (password !== undefined) return password;
        throw new CoppiceError(
          'permission_denied',
          `${serverOf(directory)} wants a password for role "${user}", and ${passfile === undefined ? 'none is declared' : `${passfile} has none for it`}: name a file with the line ${login.host}:${port}:*:${user}:PASSWORD by passfile=PATH, or let it in by "peer" in pg_hba.conf.`,
        );
      },
    },
    signal,
    (peer) => {
      isProven = isServerOf(directory, peer);
    },
  );
  try {
    // What is asked means what PostgreSQL means by it, whatever else has the same name.
    await session.query('SET search_path = pg_catalog', signal, { what: 'set up the session' });
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
  return { session, isProven };
}

/** For sentences. */
export function serverOf({ path }: Pick<DataDirectory, 'path'>): string {
  return `PostgreSQL in ${path}`;
}

/**
 * False where that can't be seen.
 * @throws CoppiceError where it is somebody else
 */
function isServerOf(directory: DataDirectory, { pid, uid }: Peer): boolean {
  if (uid !== directory.owner.uid) {
    throw new CoppiceError(
      'permission_denied',
      `${serverOf(directory)} belongs to user ${directory.owner.uid}, but user ${uid} listens on its socket, so it was told nothing.`,
    );
  }
  if (pid === 0) return false;
  const works = worksIn(pid, directory);
  if (works === false) throw anotherCluster(directory, `process ${pid} works in another directory`);
  return works === true;
}

export function anotherCluster(directory: DataDirectory, why: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    `The server that answers is not that of ${directory.path} (${why}): a pooler or another cluster listens there; name the socket of the right one by socket=DIRECTORY and port=.`,
  );
}
