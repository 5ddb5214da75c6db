import { attempt, SystemError } from './system-calls.ts';

/**
 * Ranges of the tree of one subvolume, for who reads much of it: numbers and offsets from linux/btrfs.h. Needs root.
 *
 * The kernel leaves out whole branches of the tree that have not been written since a transaction: a node is written anew when
 * anything below it is, and carries the number of the transaction that has done so.
 */

const TREE_SEARCH_V2 = 0xc0709411n;
const requestBytes = 112;
const headerBytes = 32;
/** No item is larger: a node of a tree has at most 64 KiB. */
const largestItem = 64 * 1024;
/** Enough for all that is known of most files, and little for the kernel to make ready for each call. */
const fewBytes = largestItem + 8 * 1024;
const manyBytes = 256 * 1024;

/** A key without its offset; inode numbers are far below 2^53. */
export interface KeyStart {
  readonly inode: number;
  readonly type: number;
}

export interface ItemRange {
  readonly from: KeyStart;
  /** With every offset. */
  readonly to: KeyStart;
  /** Only what lies in nodes that were written in this transaction or after it; everything when absent. */
  readonly since?: bigint;
}

/** One item. Good until the next is asked for. */
export interface Item {
  inode: number;
  type: number;
  /** A number that is exact for what is a multiple of a block, or below 2^53. */
  offset: number;
  data: Buffer;
}

export class ItemReader {
  readonly #fd: number;
  #few: Buffer | undefined;
  #many: Buffer | undefined;

  /** @param fd lies in the subvolume whose tree is read */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Visits the items of a range in the order of their keys. Nothing else may be read here until it returns. */
  visit(range: ItemRange, size: 'few' | 'many', visit: (item: Item) => void): void {
    const buffer = size === 'few' ? this.#smallBuffer() : this.#largeBuffer();
    const item: Item = { inode: 0, type: 0, offset: 0, data: buffer };
    setRequest(buffer, range);
    for (;;) {
      const result = attempt('ioctl', 'TREE_SEARCH_V2', this.#fd, TREE_SEARCH_V2, buffer);
      if (result < 0) throw new SystemError(-result, 'ioctl', 'TREE_SEARCH_V2');
      const count = buffer.readUInt32LE(64);
      if (count === 0) return;
      let [at, end] = [requestBytes, requestBytes];
      for (let index = 0; index < count; index++) {
        at = end;
        end = at + headerBytes + buffer.readUInt32LE(at + 28);
        item.inode = longWord(buffer, at + 8);
        item.type = buffer.readUInt32LE(at + 24);
        item.offset = longWord(buffer, at + 16);
        item.data = buffer.subarray(at + headerBytes, end);
        visit(item);
      }
      // The kernel has stopped because nothing was left, unless the next did not fit any more.
      if (buffer.length - end > largestItem + headerBytes) return;
      if (!moveBehind(buffer, at)) return;
    }
  }

  #smallBuffer(): Buffer {
    this.#few ??= Buffer.alloc(requestBytes + fewBytes);
    return this.#few;
  }

  #largeBuffer(): Buffer {
    this.#many ??= Buffer.alloc(requestBytes + manyBytes);
    return this.#many;
  }
}

export function longWord(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 2 ** 32;
}

function setRequest(buffer: Buffer, { from, to, since = 0n }: ItemRange): void {
  buffer.fill(0, 0, requestBytes);
  buffer.writeBigUInt64LE(BigInt(from.inode), 8);
  buffer.writeBigUInt64LE(BigInt(to.inode), 16);
  buffer.fill(0xff, 32, 40); // to any offset
  buffer.writeBigUInt64LE(since, 40);
  buffer.fill(0xff, 48, 56); // to any transaction
  buffer.writeUInt32LE(from.type, 56);
  buffer.writeUInt32LE(to.type, 60);
  setSize(buffer);
}

function setSize(buffer: Buffer): void {
  buffer.writeUInt32LE(0xffff_ffff, 64);
  buffer.writeBigUInt64LE(BigInt(buffer.length - requestBytes), 104);
}

/** Has the request begin behind the key of an item; false where there is no key behind it. */
function moveBehind(buffer: Buffer, at: number): boolean {
  const offset = buffer.readBigUInt64LE(at + 16);
  // A key with the highest offset is that of no item of a file, so that to leave out what has the same inode and type leaves out nothing.
  if (offset === 0xffff_ffff_ffff_ffffn) return false;
  buffer.copy(buffer, 8, at + 8, at + 16);
  buffer.writeBigUInt64LE(offset + 1n, 24);
  buffer.writeUInt32LE(buffer.readUInt32LE(at + 24), 56);
  setSize(buffer);
  return true;
}
