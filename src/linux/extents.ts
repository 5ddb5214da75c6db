import { call } from './system-calls.ts';

const FICLONE = 0x40049409n;
const FICLONERANGE = 0x4020940dn;
const FIEMAP = 0xc020660bn;
const headerBytes = 32;
const extentBytes = 56;

const flags = { last: 0x1, unknown: 0x2, inline: 0x200, shared: 0x2000 } as const;

/** Makes a file share all blocks of another. @throws SystemError EXDEV, EINVAL, EOPNOTSUPP when the file systems can't. */
export function reflink(source: number, target: number): void {
  call('ioctlValue', 'FICLONE', target, FICLONE, source);
}

/** The same of the first bytes, a multiple of the block size. */
export function reflinkStart(source: number, target: number, bytes: number): void {
  call(
    'ioctl',
    'FICLONERANGE',
    target,
    FICLONERANGE,
    new BigInt64Array([BigInt(source), 0n, BigInt(bytes), 0n]),
  );
}

/** The number of extents of a file, exact; walks them all (26 ms for 100,000 on btrfs). */
export function countExtents(fd: number): number {
  const request = fiemapRequest(0n, 0);
  call('ioctl', 'FIEMAP', fd, FIEMAP, request);
  return request.readUInt32LE(20);
}

/** Whether a file has more extents than a limit: never costs more than looking at that many. */
export function hasMoreExtentsThan(fd: number, limit: number): boolean {
  const request = fiemapRequest(0n, limit + 1);
  call('ioctl', 'FIEMAP', fd, FIEMAP, request);
  return request.readUInt32LE(20) > limit;
}

export interface MappedRange {
  /** Where it begins and ends in the file, in bytes. */
  readonly start: number;
  readonly end: number;
  /** Where it lies on the storage; undefined where it has no place of its own there. */
  readonly address: number | undefined;
  /** Something else refers to the extent that it lies in. */
  readonly shared: boolean;
}

/** The ranges of a file that have blocks, in order; of each the kernel looks up whether anything else refers to them. Flush first. */
export function* mappedRanges(fd: number): Generator<MappedRange> {
  const batch = 1024;
  for (let next: bigint | undefined = 0n; next !== undefined; ) {
    const request = fiemapRequest(next, batch);
    call('ioctl', 'FIEMAP', fd, FIEMAP, request);
    const mapped = request.readUInt32LE(20);
    next = undefined;
    for (let index = 0; index < mapped; index++) {
      const at = headerBytes + index * extentBytes;
      const start = request.readBigUInt64LE(at);
      const end = start + request.readBigUInt64LE(at + 16);
      const extentFlags = request.readUInt32LE(at + 40);
      next = extentFlags & flags.last ? undefined : end;
      const hasAddress = (extentFlags & (flags.unknown | flags.inline)) === 0;
      yield {
        start: Number(start),
        end: Number(end),
        address: hasAddress ? Number(request.readBigUInt64LE(at + 8)) : undefined,
        shared: (extentFlags & flags.shared) !== 0,
      };
    }
  }
}

function fiemapRequest(start: bigint, extents: number): Buffer {
  const request = Buffer.alloc(headerBytes + extents * extentBytes);
  request.writeBigUInt64LE(start, 0);
  request.writeBigUInt64LE(0xffff_ffff_ffff_ffffn - start, 8);
  request.writeUInt32LE(extents, 24);
  return request;
}
