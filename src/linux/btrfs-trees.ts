import { call } from './system-calls.ts';

/** The trees of btrfs, read item by item: numbers and offsets from linux/btrfs.h and linux/btrfs_tree.h. Needs root. */

const TREE_SEARCH_V2 = 0xc0709411n;
const keyBytes = 104;
const headerBytes = 32;
const manyItems = 256 * 1024;
/** The largest reference to a subvolume, whose name has 255 bytes, fits many times. */
const _fewItems = 4096;
const largest = 0xffff_ffff_ffff_ffffn;

export const itemTypes = { extentData: 108, rootReference: 156 } as const;

/** The tree of the subvolume that the descriptor lies in, and the one that lists all subvolumes. */
export const trees = { own: 0n, roots: 1n } as const;

export interface TreeItem {
  readonly offset: bigint;
  /** Only good until the next item is asked for. */
  readonly data: Buffer;
}

/**
 * The items of one type that belong to one object, in the order of their offsets.
 * @param resultBytes how much is read at a time: a large buffer costs more than a search that finds nothing
 */
export function* treeItems(
  fd: number,
  tree: bigint,
  object: bigint,
  type: number,
  resultBytes: number = manyItems,
): Generator<TreeItem> {
  const request = Buffer.allocUnsafeSlow(keyBytes + 8 + resultBytes).fill(0, 0, keyBytes + 8);
  const setKey = (minOffset: bigint): void => {
    for (const [offset, value] of [
      [0, tree],
      [8, object],
      [16, object],
      [24, minOffset],
      [32, largest],
      [40, 0n],
      [48, largest],
      [keyBytes, BigInt(resultBytes)],
    ] as const)
      request.writeBigUInt64LE(value, offset);
    request.writeUInt32LE(type, 56);
    request.writeUInt32LE(type, 60);
    request.writeUInt32LE(0xffff_ffff, 64);
  };
  for (let next: bigint | undefined = 0n; next !== undefined; ) {
    setKey(next);
    call('ioctl', 'TREE_SEARCH_V2', fd, TREE_SEARCH_V2, request);
    const count = request.readUInt32LE(64);
    next = undefined;
    for (let index = 0, at = keyBytes + 8; index < count; index++) {
      const offset = request.readBigUInt64LE(at + 16);
      const length = request.readUInt32LE(at + 28);
      const start = at + headerBytes;
      at = start + length;
      next = offset === largest ? undefined : offset + 1n;
      yield { offset, data: request.subarray(start, at) };
    }
  }
}
