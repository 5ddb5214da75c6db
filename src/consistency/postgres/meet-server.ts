import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { DataDirectory } from './data-directory.ts';
import type { PostgresDeclaration } from './declaration.ts';
import { type OpenedSession, openSession, serverOf } from './open-session.ts';
import { readPostmasterFile } from './postmaster-file.ts';
import { serverProcesses } from './server-processes.ts';

/**
 * Connects to the server, or finds that there is none: `crashed` where one has left its `postmaster.pid` behind.
 * @throws CoppiceError also where it can't be known
 */
export async function meetServer(
  directory: DataDirectory,
  declaration: PostgresDeclaration,
  signal: AbortSignal,
): Promise<OpenedSession | 'stopped' | 'crashed'> {
  const file = readPostmasterFile(directory.fd);
  const { pids, complete } = serverProcesses(directory);
  if (!file && pids.length === 0) return 'stopped';
  if (file?.isAlone && pids.length > 0) {
    throw new CoppiceError(
      'busy',
      `${serverOf(directory)} runs in single-user mode (process ${pids.join(', ')}), in which nobody can ask it for anything: end it first.`,
    );
  }
  try {
    return await openSession(directory, declaration, file, signal);
  } catch (error) {
    const isNobody =
      error instanceof CoppiceError &&
      hasErrno(error.cause, 'ECONNREFUSED', 'ENOENT') &&
      declaration.host === undefined;
    const isRefused = error instanceof CoppiceError && hasErrno(error.cause, 'ECONNREFUSED');
    if (pids.length > 0 && isRefused) {
      throw new CoppiceError(
        'busy',
        `${serverOf(directory)} takes no connections, but ${pids.length} of its processes (such as ${pids[0]}) still work there: it has crashed just now, or starts; try again.`,
        { cause: error },
      );
    }
    if (pids.length > 0 || !(isNobody || file?.isAlone)) throw error;
    if (complete) return 'crashed';
    throw new CoppiceError(
      'permission_denied',
      `${serverOf(directory)} has left a postmaster.pid, and whether it still runs can't be seen: run as root, or remove that file if it does not.`,
      { cause: error },
    );
  }
}
