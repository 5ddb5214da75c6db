import { readdirSync } from 'node:fs';
import { statusAt } from '../../linux/file-status.ts';
import { descriptorPath, makeDirectoryAt, openDirectoryAt, removeDirectoryAt } from '../../linux/files.ts';
import { attachMount, cloneMount } from '../../linux/mount-moves.ts';
import { mountOf } from '../../linux/mounts.ts';
import { call, hasErrno, SystemError } from '../../linux/system-calls.ts';
import { flushNames } from './link.ts';
import type { Spot } from './spot.ts';

/**
 * Mounts a tree on an empty directory, which is made where there is none. It has the options of the pool's own mount. Nobody can write
 * into the directory itself but root: what is meant for the tree must not land there while that is not mounted.
 * @throws SystemError ENOTEMPTY when somebody has put something there meanwhile
 */
export function putMount(spot: Spot, tree: string, pool: string, isAbsent: boolean): void {
  if (isAbsent) {
    makeDirectoryAt(spot.parent, spot.base, 0o555);
    flushNames(spot);
  }
  using directory = openDirectoryAt(spot.parent, spot.base);
  const path = descriptorPath(directory.fd);
  const ENOTEMPTY = 39;
  if (readdirSync(path).length > 0) throw new SystemError(ENOTEMPTY, 'move_mount', spot.path);
  using mount = cloneMount(tree, mountOf(pool)?.options ?? []);
  // A link at the end of a path would not be followed.
  attachMount(mount, `${path}/.`);
}

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/**
 * Unmounts what is on a place. With `force` whoever has something open there keeps it.
 * @throws SystemError EBUSY
 */
export function dropMount({ parent, base }: Spot, force: boolean): void {
  const path = `${descriptorPath(parent)}/${base}`;
  call('umount2', path, path, UMOUNT_NOFOLLOW | (force ? MNT_DETACH : 0));
}

/** Removes the directory that was made for a mount, if nobody has put anything there. */
export function dropDirectory(spot: Spot): void {
  try {
    removeDirectoryAt(spot.parent, spot.base);
    flushNames(spot);
  } catch (error) {
    if (!hasErrno(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR', 'EBUSY')) throw error;
  }
}

/** Whether a place shows the very directory that a path leads to. */
export function showsTree({ parent, base }: Pick<Spot, 'parent' | 'base'>, tree: string): boolean {
  try {
    const AT_FDCWD = -100;
    const [there, wanted] = [statusAt(parent, base), statusAt(AT_FDCWD, tree)];
    return there.isMountPoint && there.device === wanted.device && there.inode === wanted.inode;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return false;
    throw error;
  }
}
