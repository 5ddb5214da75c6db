import { subvolumeInfo } from './btrfs.ts';
import { treeItems } from './btrfs-trees.ts';

/**
 * What two subvolumes have in common: numbers and offsets from linux/btrfs_tree.h. Needs root.
 *
 * A snapshot begins as its source was at the end of one transaction, and says which subvolume and which transaction that was. So
 * its line can be followed: from it to its source, from that to the source of the source. Where the lines of two subvolumes meet in
 * one, each left that one at the end of some transaction (or is that one, and never left it), and the earlier of the two
 * transactions is when they were last the same: what was written to either line since carries a higher number. Which of the two is
 * older says nothing: after a rollback the present state descends from an old snapshot, and a newer one from what was replaced.
 */

const rootItem = 132;
const subvolumeUuid = 251;
const trees = { roots: 1n, uuids: 9n } as const;
const none = Buffer.alloc(16).toString('hex');

/** One subvolume of a line. */
interface Station {
  /** As it stands in the trees: 32 hexadecimal digits. */
  readonly uuid: string;
  /** The transaction at whose end the line left it; undefined of the one that the line begins with, which has not left. */
  readonly left: bigint | undefined;
}

/**
 * The transaction at whose end two subvolumes of a file system were last the same. Undefined when nothing says that they ever were:
 * they have no common origin, or a subvolume between is deleted, and with it is gone where it came from.
 */
export function lastCommonTransaction(a: number, b: number): bigint | undefined {
  const others = new Map(lineOf(b).map(({ uuid, left }) => [uuid, left]));
  for (const { uuid, left } of lineOf(a)) {
    if (!others.has(uuid)) continue;
    const otherLeft = others.get(uuid);
    if (left === undefined) return otherLeft ?? subvolumeInfo(a).changedIn;
    return otherLeft === undefined || left < otherLeft ? left : otherLeft;
  }
  return undefined;
}

/** A subvolume and those that it comes from, as far as they are known. The last may be deleted. */
function lineOf(fd: number): Station[] {
  const { id } = subvolumeInfo(fd);
  let origin = originOf(fd, id);
  if (!origin) return [];
  const line: Station[] = [{ uuid: origin.uuid, left: undefined }];
  const seen = new Set([origin.uuid]);
  while (origin && origin.parent !== none && !seen.has(origin.parent)) {
    line.push({ uuid: origin.parent, left: origin.madeIn });
    seen.add(origin.parent);
    const parent = subvolumeOf(fd, origin.parent);
    origin = parent === undefined ? undefined : originOf(fd, parent);
  }
  return line;
}

interface Origin {
  readonly uuid: string;
  readonly parent: string;
  readonly madeIn: bigint;
}

/** struct btrfs_root_item. What kernels before 3.6 have written last has no valid UUIDs, and says so by the second generation. */
function originOf(fd: number, subvolume: bigint): Origin | undefined {
  const smallest = 439;
  for (const { data } of treeItems(fd, trees.roots, subvolume, rootItem, 4096)) {
    if (data.length < smallest || data.readBigUInt64LE(160) !== data.readBigUInt64LE(239)) return undefined;
    return {
      uuid: data.toString('hex', 247, 263),
      parent: data.toString('hex', 263, 279),
      madeIn: data.readBigUInt64LE(303),
    };
  }
  return undefined;
}

/** The id of the subvolume that has a UUID; undefined where it is deleted. The first half of the UUID is the object, the other the offset. */
function subvolumeOf(fd: number, uuid: string): bigint | undefined {
  const bytes = Buffer.from(uuid, 'hex');
  for (const { offset, data } of treeItems(fd, trees.uuids, bytes.readBigUInt64LE(0), subvolumeUuid, 4096))
    if (offset === bytes.readBigUInt64LE(8) && data.length >= 8) return data.readBigUInt64LE(0);
  return undefined;
}
