import { constants, openSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { Descriptor } from './files.ts';
import { call, closeDescriptor } from './system-calls.ts';

/** A user as which something is done. */
export interface User {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Connects to a unix socket so that who listens there sees that user (`SO_PEERCRED`), as a database wants it that asks the kernel who
 * comes. The kernel notes the user of the thread that connects; so this thread alone is that user for as long as the call takes, while
 * nothing else runs in it. Without root it is us who connect.
 * @param path also a longer one than an address holds
 * @throws SystemError EAGAIN when too many wait there already; EPERM where root may not be another user
 */
export function connectAs(path: string, user: User): Descriptor {
  const AF_UNIX = 1;
  const streamCloseOnExecNonBlocking = 1 | 0o2000000 | 0o4000;
  const O_PATH = 0o10000000;
  using directory = new Descriptor(openSync(dirname(path), O_PATH | constants.O_DIRECTORY));
  const address = Buffer.from(`\0\0/proc/self/fd/${directory.fd}/${basename(path)}\0`);
  address.writeUInt16LE(AF_UNIX);
  const socket = new Descriptor(
    call('socket', 'a socket', AF_UNIX, streamCloseOnExecNonBlocking, 0),
    closeDescriptor,
  );
  try {
    asUser(user, () => call('connect', path, socket.fd, address, address.length));
    return socket;
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}

const unchanged = 0xffff_ffff;

function asUser(user: User, action: () => void): void {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  if (uid !== 0 || user.uid === 0) {
    action();
    return;
  }
  call('setresgid', String(user.gid), unchanged, user.gid, unchanged);
  try {
    call('setresuid', String(user.uid), unchanged, user.uid, unchanged);
    try {
      action();
    } finally {
      goBack('setresuid', uid);
    }
  } finally {
    goBack('setresgid', gid);
  }
}

/** We still are that user by right, so it is always allowed; but if not, nothing more may be done as another. */
function goBack(name: 'setresuid' | 'setresgid', id: number): void {
  try {
    call(name, String(id), unchanged, id, unchanged);
  } catch {
    process.abort();
  }
}
