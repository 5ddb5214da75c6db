import { formatUuid } from './random.ts';
import { call } from './system-calls.ts';

/** The ioctls of xfs, numbers and offsets from xfs/xfs_fs.h. */

export const xfsMagic = 0x58465342;

const XFS_IOC_FSGEOMETRY_V1 = 0x80705864n;
const XFS_IOC_FREE_EOFBLOCKS = 0x8080583an;

export interface XfsGeometry {
  readonly uuid: string;
  readonly blockBytes: number;
  /** Whether files can share blocks: decided when the file system is made. */
  readonly reflink: boolean;
}

/** What an xfs is like; works without root. */
export function xfsGeometry(fd: number): XfsGeometry {
  const reflink = 1 << 20;
  const geometry = Buffer.alloc(112);
  call('ioctl', 'FSGEOMETRY', fd, XFS_IOC_FSGEOMETRY_V1, geometry);
  return {
    uuid: formatUuid(geometry.subarray(64, 80)),
    blockBytes: geometry.readUInt32LE(0),
    reflink: (geometry.readUInt32LE(92) & reflink) !== 0,
  };
}

/**
 * Waits until the blocks of all files that were deleted so far are free, which the kernel does in the background; the blocks that
 * it has reserved behind the ends of files go with them. Needs root.
 */
export function waitForDeletedFiles(fd: number): void {
  const request = Buffer.alloc(128);
  request.writeUInt32LE(1, 0); // version
  request.writeUInt32LE(1, 4); // XFS_EOF_FLAGS_SYNC
  call('ioctl', 'FREE_EOFBLOCKS', fd, XFS_IOC_FREE_EOFBLOCKS, request);
}
