import { itemTypes, treeItems, trees } from './btrfs-trees.ts';
import { type MappedRange, mappedRanges } from './extents.ts';
import { statusAt } from './file-status.ts';

export interface ExtentSums {
  /** Bytes of all extents that the file refers to. */
  readonly referencedBytes: number;
  /** Bytes of those that nothing else refers to: what removing the file would free. */
  readonly exclusiveBytes: number;
}

/**
 * Counts every extent of a file once, and as a whole: btrfs frees an extent when nobody refers to any block of it any more, so
 * one block that was not overwritten holds on to up to 128 MiB. The ranges of FIEMAP are only what the file still shows. They
 * tell whether an extent is shared, and the items of the file's tree how large it is; both are in the order of the file.
 * Flush first.
 */
export function sumExtents(fd: number): ExtentSums {
  const counted = new Set<number>();
  let [referencedBytes, exclusiveBytes] = [0, 0];
  const ranges = mappedRanges(fd);
  let range = next(ranges);
  for (const { offset, data } of treeItems(fd, trees.own, statusAt(fd, '').inode, itemTypes.extentData)) {
    const extent = decodeExtent(data);
    if (!extent || counted.has(extent.address)) continue;
    counted.add(extent.address);
    referencedBytes += extent.bytes;
    const position = Number(offset);
    while (range && range.end <= position) range = next(ranges);
    if (range && range.start <= position && !range.shared) exclusiveBytes += extent.bytes;
  }
  return { referencedBytes, exclusiveBytes };
}

function next(ranges: Iterator<MappedRange, void>): MappedRange | undefined {
  const { value } = ranges.next();
  return value ?? undefined;
}

/** struct btrfs_file_extent_item; undefined for a hole, and for data that lies in the tree itself, where it takes no block. */
function decodeExtent(item: Buffer): { readonly address: number; readonly bytes: number } | undefined {
  const inline = 0;
  if (item.readUInt8(20) === inline) return undefined;
  const address = Number(item.readBigUInt64LE(21));
  return address === 0 ? undefined : { address, bytes: Number(item.readBigUInt64LE(29)) };
}
