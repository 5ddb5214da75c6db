import { attempt, SystemError } from './system-calls.ts';

/**
 * The names and attributes of many directories in few calls, for whoever reads thousands: numbers and offsets from linux/btrfs.h
 * and linux/btrfs_tree.h. Needs root.
 */

const TREE_SEARCH_V2 = 0xc0709411n;
const requestBytes = 112;
const headerBytes = 32;
/** Any item fits: a node of the tree has at most 64 KiB. */
const resultBytes = 256 * 1024;
const buffer = Buffer.alloc(requestBytes + resultBytes);
const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);

/** The types of items, in the order in which those of one inode follow on each other. */
export const itemTypes = { inode: 1, attribute: 24, name: 84, subvolume: 132 } as const;

/** Where an item stands in its tree. Inode numbers and the hashes of names are far below 2^53. */
export interface ItemKey {
  readonly inode: number;
  readonly type: number;
  readonly offset: number;
}

/** A name in a directory, or an attribute with its value. There is one object for all of them, good until the next. */
export class NamedItem {
  inode = 0;
  type = 0;
  #at = 0;

  /** Moves to what stands at a position of the buffer. Returns the position after it. */
  move(at: number): number {
    this.#at = at;
    return this.#valueStart + view.getUint16(at + 25, true);
  }

  /** Without making a string of the name. */
  is(name: string): boolean {
    if (view.getUint16(this.#at + 27, true) !== name.length) return false;
    for (let index = 0; index < name.length; index++)
      if (buffer[this.#at + fixedBytes + index] !== name.charCodeAt(index)) return false;
    return true;
  }

  get name(): string {
    return buffer.toString('utf8', this.#at + fixedBytes, this.#valueStart);
  }

  get value(): Buffer {
    return buffer.subarray(this.#valueStart, this.#valueStart + view.getUint16(this.#at + 25, true));
  }

  /** What a name stands for: a directory of this subvolume (by its inode), another subvolume, or anything else. */
  get target(): number | 'subvolume' | 'other' {
    const directory = 2;
    if (view.getUint8(this.#at + 29) !== directory) return 'other';
    const type = view.getUint8(this.#at + 8);
    if (type === itemTypes.subvolume) return 'subvolume';
    return type === itemTypes.inode ? longWord(this.#at) : 'other';
  }

  get #valueStart(): number {
    return this.#at + fixedBytes + view.getUint16(this.#at + 27, true);
  }
}

/** Of struct btrfs_dir_item, what stands before the name. */
const fixedBytes = 30;
const item = new NamedItem();

/**
 * Reads the subvolume that a descriptor lies in, from one key to the last of a type of an inode, as much as fits into one answer, but at
 * most so many items, of which only names and attributes are visited. Returns the key after the last item; undefined when there was none.
 * @throws SystemError EPERM without root
 */
export function readNames(
  fd: number,
  from: ItemKey,
  to: { readonly inode: number; readonly type: number },
  most: number,
  visit: (item: NamedItem) => void,
): ItemKey | undefined {
  setRequest(from, to, most);
  const result = attempt('ioctl', 'TREE_SEARCH_V2', fd, TREE_SEARCH_V2, buffer);
  if (result < 0) throw new SystemError(-result, 'ioctl', 'TREE_SEARCH_V2');
  const count = view.getUint32(64, true);
  let [at, end] = [requestBytes, requestBytes];
  for (let index = 0; index < count; index++) {
    at = end;
    end = at + headerBytes + view.getUint32(at + 28, true);
    item.type = view.getUint32(at + 24, true);
    if (item.type !== itemTypes.attribute && item.type !== itemTypes.name) continue;
    item.inode = longWord(at + 8);
    // Those whose names have one hash share an item.
    for (let position = at + headerBytes; position < end; ) {
      position = item.move(position);
      visit(item);
    }
  }
  if (count === 0) return undefined;
  return { inode: longWord(at + 8), type: view.getUint32(at + 24, true), offset: longWord(at + 16) + 1 };
}

function setRequest(
  from: ItemKey,
  to: { readonly inode: number; readonly type: number },
  most: number,
): void {
  buffer.fill(0, 0, requestBytes);
  setLongWord(8, from.inode);
  setLongWord(16, to.inode);
  setLongWord(24, from.offset);
  buffer.fill(0xff, 32, 40); // to any offset
  buffer.fill(0xff, 48, 56); // of any transaction
  view.setUint32(56, from.type, true);
  view.setUint32(60, to.type, true);
  view.setUint32(64, most, true);
  setLongWord(104, resultBytes);
}

function longWord(at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

function setLongWord(at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}
