import { type ItemReader, longWord } from './btrfs-items.ts';
import type { DataRange } from './data-ranges.ts';

/**
 * The files of one subvolume, as its tree has them: numbers and offsets from linux/btrfs_tree.h. Needs root. What is read must not
 * change meanwhile, as a read-only snapshot doesn't: of what is written and not committed a tree shows a part. Names are one
 * character a byte (latin1), because nothing says that they are UTF-8.
 */

const itemTypes = {
  inode: 1,
  reference: 12,
  extendedReference: 13,
  attribute: 24,
  entry: 96,
  extent: 108,
  root: 132,
} as const;

/** The inode number of the root of every subvolume. */
export const rootInode = 256;
/** Above all inode numbers. */
const anyInode = Number.MAX_SAFE_INTEGER;

export interface InodeItem {
  readonly number: number;
  /** The transactions in which it was made, and last changed in any way. */
  readonly madeIn: bigint;
  readonly changedIn: bigint;
  readonly bytes: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  /** With the type. */
  readonly mode: number;
  readonly device: bigint;
  readonly flags: bigint;
  /** Seconds and nanoseconds, in an order of its own: only to compare with another. */
  readonly modifiedAt: string;
  readonly madeAt: string;
}

export interface DirectoryEntry {
  readonly name: string;
  /** The inode, or the id of a subvolume that lies there. */
  readonly target: number;
  readonly isSubvolume: boolean;
}

export interface NameOf {
  readonly directory: number;
  readonly name: string;
}

/** Inodes that were made or changed in any way in a transaction or after it. */
export function changedInodes(reader: ItemReader, since: bigint): InodeItem[] {
  const found: InodeItem[] = [];
  const range = { from: { inode: rootInode, type: 0 }, to: { inode: anyInode, type: 0 }, since };
  reader.visit(range, 'many', ({ inode, type, data }) => {
    if (type === itemTypes.inode && data.readBigUInt64LE(8) >= since) found.push(decodeInode(inode, data));
  });
  return found;
}

export function readInode(reader: ItemReader, inode: number): InodeItem | undefined {
  let found: InodeItem | undefined;
  visitItems(reader, inode, itemTypes.inode, itemTypes.inode, ({ data }) => {
    found = decodeInode(inode, data);
  });
  return found;
}

/** struct btrfs_inode_item. */
function decodeInode(number: number, data: Buffer): InodeItem {
  return {
    number,
    madeIn: data.readBigUInt64LE(0),
    changedIn: data.readBigUInt64LE(8),
    bytes: longWord(data, 16),
    links: data.readUInt32LE(40),
    uid: data.readUInt32LE(44),
    gid: data.readUInt32LE(48),
    mode: data.readUInt32LE(52),
    device: data.readBigUInt64LE(56),
    flags: data.readBigUInt64LE(64),
    modifiedAt: data.toString('latin1', 136, 148),
    madeAt: data.toString('latin1', 148, 160),
  };
}

/** The entries of a directory by their index, which an entry keeps and which no other gets in this directory. */
export function readEntries(reader: ItemReader, directory: number): Map<number, DirectoryEntry> {
  const entries = new Map<number, DirectoryEntry>();
  visitItems(reader, directory, itemTypes.entry, itemTypes.entry, ({ offset, data }) => {
    entries.set(offset, decodeEntry(data));
  });
  return entries;
}

/** struct btrfs_dir_item: the key of the target, a transaction, the lengths of value and name, the type, the name. */
function decodeEntry(data: Buffer): DirectoryEntry {
  return {
    name: data.toString('latin1', 30, 30 + data.readUInt16LE(27)),
    target: longWord(data, 0),
    isSubvolume: data.readUInt8(8) === itemTypes.root,
  };
}

/** Every name of an inode. A directory has one, and the root of the subvolume none. */
export function readNamesOf(reader: ItemReader, inode: number): NameOf[] {
  const names: NameOf[] = [];
  if (inode === rootInode) return names;
  visitItems(
    reader,
    inode,
    itemTypes.reference,
    itemTypes.extendedReference,
    ({ type, offset: parent, data }) => {
      const isExtended = type === itemTypes.extendedReference;
      // Names that lie in one directory, and those whose hashes are the same, share an item.
      for (let at = 0; at < data.length; ) {
        const start = at + (isExtended ? 18 : 10);
        const length = data.readUInt16LE(start - 2);
        const directory = isExtended ? longWord(data, at) : parent;
        names.push({ directory, name: data.toString('latin1', start, start + length) });
        at = start + length;
      }
    },
  );
  return names;
}

/** The attributes of an inode, each with its name and value as one text, sorted. */
export function readAttributes(reader: ItemReader, inode: number): string[] {
  const attributes: string[] = [];
  visitItems(reader, inode, itemTypes.attribute, itemTypes.attribute, ({ data }) => {
    for (let at = 0; at < data.length; ) {
      const lengths = data.subarray(at + 25, at + 29);
      const end = at + 30 + lengths.readUInt16LE(0) + lengths.readUInt16LE(2);
      attributes.push(`${lengths.readUInt16LE(2)} ${data.toString('latin1', at + 30, end)}`);
      at = end;
    }
  });
  return attributes.sort();
}

/** The ranges of a file, in order; what was only reserved, and what lies behind the end of the file, is left out. */
export function readData(reader: ItemReader, { number, bytes }: InodeItem): DataRange[] {
  const ranges: DataRange[] = [];
  visitItems(reader, number, itemTypes.extent, itemTypes.extent, ({ offset, data }) => {
    const range = offset < bytes ? decodeExtent(offset, data) : undefined;
    if (range) ranges.push(range.end > bytes ? { ...range, end: bytes } : range);
  });
  return ranges;
}

/** struct btrfs_file_extent_item. */
function decodeExtent(start: number, data: Buffer): DataRange | undefined {
  const [inline, reserved] = [0, 2];
  const type = data.readUInt8(20);
  const compression = data.readUInt8(16);
  if (type === inline)
    return {
      start,
      end: start + longWord(data, 8),
      source: `inline ${compression} ${data.toString('latin1', 21)}`,
    };
  const address = longWord(data, 21);
  if (type === reserved || address === 0) return undefined;
  // Of one extent, what is at the same distance from its beginning is the same.
  const extentStart = start - longWord(data, 37);
  return {
    start,
    end: start + longWord(data, 45),
    source: `${address} ${extentStart} ${compression}`,
  };
}

function visitItems(
  reader: ItemReader,
  inode: number,
  firstType: number,
  lastType: number,
  visit: Parameters<ItemReader['visit']>[2],
): void {
  // Of a file there are few as a rule, and of a directory often many.
  const size = firstType === itemTypes.entry ? 'many' : 'few';
  reader.visit({ from: { inode, type: firstType }, to: { inode, type: lastType } }, size, visit);
}
