import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname, resolve } from 'node:path';
import { hasErrno } from '../../linux/system-calls.ts';
import { requireOwn } from '../../linux/trusted-path.ts';
import { CoppiceError } from '../../model/errors.ts';
import { ensureDirectory } from '../own-directory.ts';

export const defaultSocket = '/run/coppice/coppice.sock';

export interface UnixAddress {
  readonly path: string;
  /** The id of the group whose members may connect; only root when absent. */
  readonly group?: number;
}

/**
 * Listens on a unix socket that the owner and a group may open.
 * @throws CoppiceError blocked when another server listens there, invalid_argument when others could put a socket in its place
 */
export async function listenOnUnix(server: Server, { path, group }: UnixAddress): Promise<void> {
  const directory = dirname(path);
  requireShort(path);
  ensureDirectory(directory, 0o755, 'the directory of the socket');
  requireOwn(resolve(directory), 'the directory of the socket');
  await removeDead(path);
  // It has its final rights from its first moment: nobody can connect in between.
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', reject);
  });
  if (group === undefined) return;
  chownSync(path, -1 as never, group);
  chmodSync(path, 0o660);
}

/** unix(7). Node says only that the argument is invalid. */
function requireShort(path: string): void {
  const most = 107;
  if (Buffer.byteLength(path) <= most) return;
  throw new CoppiceError(
    'invalid_argument',
    `The path of a socket has ${most} bytes at most, and ${path} has more.`,
  );
}

/** A server that was killed leaves its socket behind. */
async function removeDead(path: string): Promise<void> {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (!status) return;
  if (!status.isSocket())
    throw new CoppiceError(
      'blocked',
      `${path} is no socket, and is not replaced; remove it, or choose another path.`,
    );
  if (await answers(path))
    throw new CoppiceError(
      'blocked',
      `Another server listens on ${path}; stop it, or choose another path with --socket.`,
    );
  unlinkSync(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', (error) => {
      if (hasErrno(error, 'ECONNREFUSED', 'ENOENT')) resolve(false);
      else reject(error);
    });
  });
}
