import { closeSync, constants, openSync } from 'node:fs';
import type { Held } from '../../../drivers/driver.ts';
import { createUnnamedAt, Descriptor, descriptorPath } from '../../../linux/files.ts';
import { findUsersBelow } from '../../../linux/holders.ts';
import { inodeFlags, readInodeFlags, writeInodeFlags } from '../../../linux/inode-flags.ts';
import { readMounts } from '../../../linux/mounts.ts';
import { randomId } from '../../../linux/random.ts';
import type { Blocker } from '../../../model/errors.ts';
import { formatSize } from '../../../model/sizes.ts';
import type { Context } from '../../context.ts';
import type { Spot } from '../../placing/spot.ts';
import { abandon } from '../../publish.ts';
import { whyNotShared } from '../sharing.ts';
import type { TreeLook } from './look.ts';
import type { AdoptTreeOptions, TreeAdopted } from './request.ts';

/** A directory that is to be adopted, open. */
export interface Source extends Disposable {
  readonly spot: Spot;
  readonly fd: number;
}

export interface Way {
  readonly method: TreeAdopted['method'];
  readonly blockers: readonly Blocker[];
}

/** How the data gets into the pool, and what keeps it from that. */
export function wayOf(
  context: Context,
  { fd, spot }: Source,
  look: TreeLook,
  options: Pick<AdoptTreeOptions, 'nodatacow' | 'copy'>,
  isBegun: boolean,
): Way {
  const blockers: Blocker[] = look.foreign.map((path) => ({
    kind: 'mounted',
    what: `${path} in it is a mount or a subvolume of its own, which would not be in snapshots of it`,
    remedy: 'unmount it, or copy what is in it to a plain directory and delete the subvolume',
  }));
  const mounts = readMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${spot.path}/`));
  if (look.foreign.length === 0)
    blockers.push(
      ...mounts.map(({ mountPoint, source }) => ({
        kind: 'mounted' as const,
        what: `${source} is mounted on ${mountPoint}`,
        remedy: `unmount ${mountPoint}`,
      })),
    );
  if (isBegun) return { method: 'reflink', blockers };
  if (!options.nodatacow?.length && blockers.length === 0 && isSubvolumeHere(context, fd))
    return { method: 'snapshot', blockers };
  const why = whyCopied(context, fd, look);
  if (why === undefined) return { method: 'reflink', blockers };
  if (!options.copy)
    blockers.push({
      kind: 'source',
      what: `its blocks can't be shared, because ${why}`,
      remedy: `copy what can't be with --copy (${formatSize(look.bytes)} in all)`,
    });
  return { method: 'copy', blockers };
}

/** Found by doing it, in a place that goes at once. */
function isSubvolumeHere(context: Context, fd: number): boolean {
  using staged = context.driver.stage();
  try {
    return context.driver.takeTree?.(staged, fd, randomId()) ?? false;
  } finally {
    abandon(context, staged);
  }
}

function whyCopied(context: Context, fd: number, { sample, unlike }: TreeLook): string | undefined {
  if (sample) {
    using staged = context.driver.stage();
    try {
      context.driver.createTree?.(staged, randomId(), {});
      using tree = openTree(context, staged);
      using probe = createUnnamedAt(tree.fd);
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
      const reach = Buffer.concat([
        Buffer.from(`${descriptorPath(fd)}/`),
        Buffer.from(sample.reach, 'latin1'),
      ]);
      using file = new Descriptor(openSync(reach, flags), closeSync);
      if (probe) {
        if (sample.isNodatacow)
          writeInodeFlags(probe.fd, readInodeFlags(probe.fd) | inodeFlags.noCopyOnWrite);
        const why = whyNotShared(file.fd, sample.bytes, probe.fd);
        if (why !== undefined) return why;
      }
    } finally {
      abandon(context, staged);
    }
  }
  const [first] = unlike;
  if (first === undefined) return undefined;
  const others = unlike.length > 1 ? ` and ${unlike.length - 1} others` : '';
  return `${first}${others} would be in a directory that is nodatacow (chattr +C) and is not itself, or the other way round`;
}

/** Whoever has something in a directory open, as far as paths tell. */
export function usersOf(path: string): Blocker[] {
  return findUsersBelow(path, new Set()).map(({ pid, command, path: used }) => ({
    kind: 'open',
    what: `${used} is in use by process ${pid} (${command})`,
    remedy: 'stop it, or use --force',
  }));
}

/** What the copy will not keep. */
export function warningsOf({ linkedOutside, withFlags }: TreeLook, method: TreeAdopted['method']): string[] {
  const and = (all: readonly string[]): string =>
    all.length > 1 ? `${all[0]} and ${all.length - 1} others` : `${all[0]}`;
  return [
    ...(linkedOutside.length > 0
      ? [`${and(linkedOutside)} has names outside of it, too, which keep the file that was.`]
      : []),
    ...(withFlags.length > 0 && method !== 'snapshot'
      ? [`${and(withFlags)} is immutable or append-only (chattr), which the copy is not.`]
      : []),
  ];
}

/** The directory of a tree in the pool, open. */
export function openTree(context: Context, held: Held): Descriptor {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  return new Descriptor(openSync(context.driver.path(held), flags), closeSync);
}
