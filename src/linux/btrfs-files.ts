import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
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

/** A digest of everything that the tree has of each inode: where two are the same, nothing is different. */
export function digestInodes(reader: ItemReader): Map<number, string> {
  const digests = new Map<number, string>();
  let [current, hash] = [0, createHash('sha256')];
  const range = { from: { inode: rootInode, type: 0 }, to: { inode: anyInode, type: 0 } };
  const key = Buffer.alloc(12);
  reader.visit(range, 'many', ({ inode, type, offset, data }) => {
    if (inode !== current) {
      if (current > 0) digests.set(current, hash.digest('base64'));
      [current, hash] = [inode, createHash('sha256')];
    }
    key.writeUInt32LE(type, 0);
    key.writeDoubleLE(offset, 4);
    hash.update(key).update(data);
  });
  if (current > 0) digests.set(current, hash.digest('base64'));
  return digests;
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

/** What a file consists of beside what its inode says. */
export interface FileContent {
  /** Each with its name and value as one text, sorted. */
  readonly attributes: readonly string[];
  /** The ranges that have data, in order, up to the end of the file; what was only reserved is none of them. */
  readonly ranges: readonly DataRange[];
}

export function readContent(reader: ItemReader, { number, bytes, mode }: InodeItem): FileContent {
  const attributes: string[] = [];
  const ranges: DataRange[] = [];
  const isDirectory = (mode & constants.S_IFMT) === constants.S_IFDIR;
  const last = isDirectory ? itemTypes.attribute : itemTypes.extent;
  visitItems(reader, number, itemTypes.attribute, last, ({ type, offset, data }) => {
    if (type === itemTypes.attribute) attributes.push(...decodeAttributes(data));
    if (type !== itemTypes.extent || offset >= bytes) return;
    const range = decodeExtent(offset, data);
    if (range) ranges.push(range.end > bytes ? { ...range, end: bytes } : range);
  });
  return { attributes: attributes.sort(), ranges };
}

/** Those whose names have one hash share an item. */
function* decodeAttributes(data: Buffer): Generator<string> {
  for (let at = 0; at < data.length; ) {
    const [valueLength, nameLength] = [data.readUInt16LE(at + 25), data.readUInt16LE(at + 27)];
    const start = at + 30;
    at = start + nameLength + valueLength;
    yield `${nameLength} ${data.toString('latin1', start, at)}`;
  }
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
