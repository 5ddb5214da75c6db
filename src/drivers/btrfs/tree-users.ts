import { statSync } from 'node:fs';
import { relative } from 'node:path';
import { findUsersOfDevices } from '../../linux/device-users.ts';
import { descriptorPath, statusIfAny } from '../../linux/files.ts';
import { type Mount, mountOf, mountsOfAllNamespaces } from '../../linux/mounts.ts';
import { placePath, treePath } from '../directory/holders.ts';
import { type HeldDirectory, treeName } from '../directory/places.ts';
import type { Holders, MountedPart } from '../driver.ts';

/** Each subvolume has a device number of its own, by which what lies in it is known whatever path somebody has to it. */
export function treeHolders(held: readonly HeldDirectory[], pool: string): Holders {
  const wanted = new Map<bigint, string>();
  for (const entry of held) {
    if (!statusIfAny(entry.fd, treeName)) continue;
    const { dev } = statSync(`${descriptorPath(entry.fd)}/${treeName}`, { bigint: true });
    wanted.set(dev, treePath(entry, pool));
  }
  return wanted.size === 0 ? { holders: [], complete: true } : findUsersOfDevices(wanted, fileSystemOf(pool));
}

/** Where trees, or parts of them, are mounted, and what is mounted in them there; in whichever mount namespace. */
export function treeMounts(held: readonly HeldDirectory[], pool: string): MountedPart[] {
  const poolMount = mountOf(pool);
  if (!poolMount) return [];
  const { mounts } = mountsOfAllNamespaces();
  return held.flatMap((entry) => {
    const root = rootOf(poolMount, `${pool}/${placePath(entry.place)}/${treeName}`);
    const own = mounts.filter(
      (mount) => mount.fileSystem === poolMount.fileSystem && isAtOrBelow(mount.root, root),
    );
    const inside = mounts.filter((mount) =>
      own.some(
        (each) => each.namespace === mount.namespace && mount.mountPoint.startsWith(`${each.mountPoint}/`),
      ),
    );
    return [...own, ...inside].map(({ mountPoint, source, namespace }) => ({
      path: mountPoint,
      source: namespace === undefined ? source : `${source} (in the mount namespace of process ${namespace})`,
    }));
  });
}

/** The path of a directory of the pool within its file system, as mountinfo names it. */
export function rootOf(poolMount: Mount, path: string): string {
  const inside = relative(poolMount.mountPoint, path);
  return `${poolMount.root === '/' ? '' : poolMount.root}/${inside}`;
}

function fileSystemOf(pool: string): string {
  return mountOf(pool)?.fileSystem ?? '';
}

function isAtOrBelow(path: string, above: string): boolean {
  return path === above || path.startsWith(`${above}/`);
}
