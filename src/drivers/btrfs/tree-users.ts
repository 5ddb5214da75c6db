import { realpathSync, statSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { statusIfAny } from '../../linux/file-status.ts';
import { findUsersOfDevices } from '../../linux/file-system-users.ts';
import { descriptorPath } from '../../linux/files.ts';
import { commandOf, loopsOnDevices } from '../../linux/holders.ts';
import { cloneMount, replaceMount } from '../../linux/mount-moves.ts';
import { type Mount, mountOf, mountsOfAllNamespaces, type NamespacedMount } from '../../linux/mounts.ts';
import { hasErrno } from '../../linux/system-calls.ts';
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
  if (wanted.size === 0) return { holders: [], complete: true };
  const { users, complete } = findUsersOfDevices(new Set(wanted.keys()), fileSystemOf(pool), 'and us');
  const processes = users.flatMap(({ pid, device }) => {
    const command = commandIfThere(pid);
    return command === undefined ? [] : [{ pid, command, path: wanted.get(device) ?? '' }];
  });
  return { holders: [...loopsOnDevices(wanted), ...processes], complete: complete || isPrivate(pool) };
}

/** Whether only this user, and root, can get to the pool at all: then no process of another user can have something of it open. */
function isPrivate(pool: string): boolean {
  const uid = process.geteuid?.();
  for (let path = realpathSync(pool); ; path = dirname(path)) {
    const status = statSync(path);
    if (status.uid === uid && (status.mode & 0o077) === 0) return true;
    if (path === '/') return false;
  }
}

/** Undefined when it has ended: then it has nothing open any more. */
function commandIfThere(pid: number): string | undefined {
  try {
    return commandOf(pid);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

/** Where trees, or parts of them, are mounted, and what is mounted in them there; in whichever mount namespace. */
export function treeMounts(held: readonly HeldDirectory[], pool: string): MountedPart[] {
  const all = mountsOfTrees(pool);
  if (!all) return [];
  return held.flatMap((entry) => {
    const { own, inside } = all.of(entry);
    const isRoot = process.geteuid?.() === 0;
    const layers = overlaysOn(all.mounts, treePath(entry, pool)).map(({ mountPoint }) => ({
      path: mountPoint,
      source: 'an overlay with a layer in it',
    }));
    const parts = [...own, ...inside].map((mount): MountedPart => {
      const { mountPoint, source, namespace, root, options } = mount;
      const hasOthersIn = inside.some((other) => other.mountPoint.startsWith(`${mountPoint}/`));
      const isUppermost = all.uppermostAt(mountPoint) === mount;
      const isOurs = namespace === undefined && isUppermost;
      // Whose users are mapped to others can't be found out again.
      const canBeMade = isRoot && root === all.rootOf(entry) && !options.includes('idmapped');
      const canFollow = canBeMade && (isOurs || all.isLedByOurs(mount)) && !hasOthersIn;
      return {
        path: mountPoint,
        source:
          namespace === undefined ? source : `${source} (in the mount namespace of process ${namespace})`,
        ...(canFollow && own.includes(mount) && { isSwitched: true }),
      };
    });
    return [...parts, ...layers];
  });
}

/** The layers of an overlay stay those that they were when it was mounted, and nobody has them open. */
function overlaysOn(mounts: readonly NamespacedMount[], tree: string): NamespacedMount[] {
  const device = deviceOf(tree);
  return mounts.filter(({ type, options, namespace }) => {
    if (type !== 'overlay' || device === undefined) return false;
    const layers = options.flatMap((option) => {
      const [, paths] = /^(?:lowerdir|upperdir|workdir)\+?=(.*)$/.exec(option) ?? [];
      return paths === undefined ? [] : paths.split(/(?<!\\):+/);
    });
    const root = namespace === undefined ? '' : `/proc/${namespace}/root`;
    return layers.some((layer) => deviceOf(`${root}${layer.replaceAll(/\\(.)/g, '$1')}`) === device);
  });
}

function deviceOf(path: string): bigint | undefined {
  try {
    return statSync(path, { bigint: true }).dev;
  } catch {
    return undefined; // what can't be looked at, as a layer that is gone, is not in the tree
  }
}

/** The mounts that can follow, in this namespace: of `from`'s tree, wherever that lies by now, to `to`'s. */
export function switchMounts(from: HeldDirectory, to: HeldDirectory, pool: string): void {
  const all = mountsOfTrees(pool);
  if (!all) return;
  const root = all.rootOf(from);
  for (const { mountPoint, namespace, options, root: mounted } of all.of(from).own) {
    if (namespace !== undefined || mounted !== root) continue;
    using tree = cloneMount(treePath(to, pool), options);
    replaceMount(tree, mountPoint);
  }
}

interface TreeMounts {
  readonly mounts: readonly NamespacedMount[];
  /** The one that whoever looks there sees, in this namespace. */
  uppermostAt(mountPoint: string): NamespacedMount | undefined;
  /** Whether what happens to the mount of the same place in this namespace happens to this one of another, too. */
  isLedByOurs(mount: NamespacedMount): boolean;
  rootOf(entry: HeldDirectory): string;
  of(entry: HeldDirectory): { readonly own: NamespacedMount[]; readonly inside: NamespacedMount[] };
}

/** One look at all mounts, for several trees. */
function mountsOfTrees(pool: string): TreeMounts | undefined {
  const poolMount = mountOf(pool);
  if (!poolMount) return undefined;
  const { mounts } = mountsOfAllNamespaces();
  const rootOf = (entry: HeldDirectory): string =>
    rootIn(poolMount, `${pool}/${placePath(entry.place)}/${treeName}`);
  const parentOf = ({ parent, namespace }: NamespacedMount): NamespacedMount | undefined =>
    mounts.find((mount) => mount.id === parent && mount.namespace === namespace);
  const uppermostAt = (mountPoint: string): NamespacedMount | undefined => {
    const stack = mounts.filter((mount) => mount.namespace === undefined && mount.mountPoint === mountPoint);
    return stack.find(({ id }) => !stack.some(({ parent }) => parent === id));
  };
  return {
    mounts,
    rootOf,
    uppermostAt,
    isLedByOurs(mount) {
      const own = uppermostAt(mount.mountPoint);
      const group = own && parentOf(own)?.sharedIn;
      const theirs = parentOf(mount);
      return (
        mount.namespace !== undefined &&
        own?.root === mount.root &&
        group !== undefined &&
        (theirs?.sharedIn === group || theirs?.follows === group)
      );
    },
    of(entry) {
      const root = rootOf(entry);
      const own = mounts.filter(
        (mount) => mount.fileSystem === poolMount.fileSystem && isAtOrBelow(mount.root, root),
      );
      const isInside = (mount: NamespacedMount): boolean =>
        own.some(
          (each) =>
            each !== mount &&
            each.namespace === mount.namespace &&
            mount.mountPoint.startsWith(`${each.mountPoint}/`),
        );
      return { own, inside: mounts.filter((mount) => !own.includes(mount) && isInside(mount)) };
    },
  };
}

/** The path of a directory of the pool within its file system, as mountinfo names it. */
function rootIn(poolMount: Mount, path: string): string {
  const inside = relative(poolMount.mountPoint, path);
  return `${poolMount.root === '/' ? '' : poolMount.root}/${inside}`;
}

function fileSystemOf(pool: string): string {
  return mountOf(pool)?.fileSystem ?? '';
}

function isAtOrBelow(path: string, above: string): boolean {
  return path === above || path.startsWith(`${above}/`);
}
