import { findUsersBelow } from '../../linux/holders.ts';
import { readMounts } from '../../linux/mounts.ts';
import type { Blocker } from '../../model/errors.ts';

/**
 * What keeps a pool from being unmounted, or would keep its file system in use when it is. Nothing of it is ours to end.
 * @param known files whose users the caller names already
 */
export function unmountObstacles(path: string, known: ReadonlySet<string> = new Set()): Blocker[] {
  return [...otherMounts(path), ...users(path, known)];
}

/** The same file system elsewhere, as by a bind mount; and what is mounted inside the pool. */
function otherMounts(path: string): Blocker[] {
  const mounts = readMounts();
  const own = mounts.findLast((mount) => mount.mountPoint === path);
  return mounts
    .filter((mount) => mount !== own)
    .filter((mount) => mount.fileSystem === own?.fileSystem || mount.mountPoint.startsWith(`${path}/`))
    .map((mount) => ({
      kind: 'mounted',
      what:
        mount.fileSystem === own?.fileSystem
          ? `the pool is also mounted on ${mount.mountPoint}`
          : `${mount.source} is mounted on ${mount.mountPoint}`,
      remedy: `unmount ${mount.mountPoint}`,
    }));
}

function users(path: string, known: ReadonlySet<string>): Blocker[] {
  return findUsersBelow(path, known).map((user) => ({
    kind: 'open',
    what: `${user.path} is in use by process ${user.pid} (${user.command})`,
    remedy: 'stop it',
  }));
}
