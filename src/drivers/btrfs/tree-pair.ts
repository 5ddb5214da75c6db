import {
  changedInodes,
  type DirectoryEntry,
  digestInodes,
  type InodeItem,
  type NameOf,
  readContent,
  readEntries,
  readInode,
  readNamesOf,
  rootInode,
} from '../../linux/btrfs-files.ts';
import { ItemReader } from '../../linux/btrfs-items.ts';
import { lastCommonTransaction } from '../../linux/btrfs-lineage.ts';
import { differingBytes, totalBytes } from '../../linux/data-ranges.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import type { Aspect } from '../../model/changes.ts';
import { compareTrees } from '../comparing/compare.ts';
import { filePair } from '../comparing/files.ts';
import { type Difference, type Inode, type TreePair, type TreeState, typeOf } from '../comparing/trees.ts';
import type { Differences } from '../driver.ts';

/**
 * What is different in the second of two read-only subvolumes of one file system. Who is not root may not ask for the records of the file
 * system, so every file is looked at for him.
 */
export function subvolumeDifferences(from: number, to: number): Differences {
  try {
    const parted = lastCommonTransaction(from, to);
    using pair = subvolumePair(from, to, parted);
    return { changes: compareTrees(pair), method: parted === undefined ? 'records' : 'generations' };
  } catch (error) {
    if (!hasErrno(error, 'EPERM', 'EACCES')) throw error;
    using pair = filePair(from, to);
    return { changes: compareTrees(pair), method: 'files' };
  }
}

/**
 * Two read-only subvolumes of one file system, compared by what the file system itself keeps. Needs root.
 *
 * They were last the same at the end of some transaction (see lastCommonTransaction). Whatever is done to a file since, be it to its data,
 * its names, its attributes or its rights, writes its inode anew with the number of the transaction, and so does a change of a name to
 * the inode of the directory. So a file whose inode carries a lower number in both subvolumes is the same in both, down to
 * the last byte; and what is deleted shows in the inode of its directory. The kernel leaves out the branches of a tree that
 * carry a lower number, so that what did not change costs nothing.
 *
 * A snapshot is taken at the very end of its transaction, when nobody can change anything in it any more. The one thing that is
 * written in it still is the name of a snapshot: where that lies in its own source, that name is not told.
 *
 * Only balancing moves data without touching inodes, and moves it in both. A nodatacow file is no exception: what a snapshot refers
 * to is never written in place. Inode numbers are used again, after a mount, if they were the highest; so a file is known by its number,
 * the transaction in which it was made and the time of that. Where nothing says when the two were last the same, everything is read.
 *
 * @param parted the transaction at whose end they were last the same; undefined when that is not known
 */
function subvolumePair(from: number, to: number, parted: bigint | undefined): TreePair {
  const states = [new Subvolume(from, parted), new Subvolume(to, parted)] as const;
  return {
    from: states[0],
    to: states[1],
    *candidates() {
      if (parted === undefined) yield* differentInodes(...states);
      else for (const state of states) yield* state.changedAfter(parted);
    },
    difference: (before, after) => differenceOf(states, before as KnownInode, after as KnownInode),
    [Symbol.dispose]() {},
  };
}

interface KnownInode extends Inode {
  readonly item: InodeItem;
}

class Subvolume implements TreeState {
  readonly root = rootInode;
  readonly reader: ItemReader;
  readonly #parted: bigint | undefined;
  readonly #known = new Map<number, KnownInode | undefined>();

  constructor(fd: number, parted: bigint | undefined) {
    this.reader = new ItemReader(fd);
    this.#parted = parted;
  }

  *changedAfter(transaction: bigint): Generator<number> {
    for (const item of changedInodes(this.reader, transaction + 1n)) {
      this.#known.set(item.number, this.#inodeOf(item));
      yield item.number;
    }
  }

  inode(number: number): KnownInode | undefined {
    if (this.#known.has(number)) return this.#known.get(number);
    const item = readInode(this.reader, number);
    const inode = item && this.#inodeOf(item);
    this.#known.set(number, inode);
    return inode;
  }

  entries(directory: number): Map<number, DirectoryEntry> {
    return readEntries(this.reader, directory);
  }

  namesOf(inode: number): NameOf[] {
    return readNamesOf(this.reader, inode);
  }

  dataBytes(inode: Inode): number {
    return totalBytes(readContent(this.reader, (inode as KnownInode).item).ranges);
  }

  /** What is deleted and still open has no name. */
  #inodeOf(item: InodeItem): KnownInode | undefined {
    const { number, mode, links, madeIn, madeAt } = item;
    if (links === 0) return undefined;
    // What both lines have made since may have the same number, transaction and time.
    const isOwn = this.#parted !== undefined && madeIn > this.#parted;
    const identity = isOwn ? this : `${number} ${madeIn} ${madeAt} ${typeOf(mode)}`;
    return { number, identity, type: typeOf(mode), item };
  }
}

/** Where nothing says since when they may be different, everything that is read of them is compared. */
function differentInodes(from: Subvolume, to: Subvolume): number[] {
  const before = digestInodes(from.reader);
  const after = digestInodes(to.reader);
  const different = [...after].filter(([number, digest]) => before.get(number) !== digest);
  const gone = [...before.keys()].filter((number) => !after.has(number));
  return [...different.map(([number]) => number), ...gone];
}

/** Those that people set: 8 and 16 are the kernel's own notes, that data did not compress and that space was reserved. */
const ownFlags = ~24n;

function differenceOf(
  [from, to]: readonly [Subvolume, Subvolume],
  { item: before }: KnownInode,
  { item: after, type }: KnownInode,
): Difference | undefined {
  const [old, present] = [readContent(from.reader, before), readContent(to.reader, after)];
  const bytes = differingBytes(old.ranges, present.ranges, after.bytes);
  const hasData = type === 'file' || type === 'symlink';
  const aspects: Aspect[] = [];
  if (bytes > 0 || (hasData && before.bytes !== after.bytes) || before.device !== after.device)
    aspects.push('data');
  if (before.mode !== after.mode) aspects.push('mode');
  if (before.uid !== after.uid || before.gid !== after.gid) aspects.push('owner');
  if (type !== 'directory' && before.modifiedAt !== after.modifiedAt) aspects.push('times');
  if ((before.flags & ownFlags) !== (after.flags & ownFlags) || !areSame(old.attributes, present.attributes))
    aspects.push('attributes');
  return aspects.length > 0 ? { aspects, bytes } : undefined;
}

function areSame(these: readonly string[], those: readonly string[]): boolean {
  return these.length === those.length && these.every((each, index) => each === those[index]);
}
