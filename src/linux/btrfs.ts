import { rewriteLabel } from './labels.ts';
import { formatUuid } from './random.ts';
import { call, hasErrno } from './system-calls.ts';

/** The ioctls of btrfs, numbers and offsets from linux/btrfs.h. Names are one path component under an open directory. */

export const btrfsMagic = 0x9123683e;

const ioctls = {
  resize: 0x50009403n,
  subvolumeDestroy: 0x5000940fn,
  waitSync: 0x40089416n,
  snapshotCreate: 0x50009417n,
  startSync: 0x80089418n,
  subvolumeCreate: 0x50009418n,
  fileSystemInfo: 0x8400941fn,
  subvolumeGetFlags: 0x80089419n,
  subvolumeSetFlags: 0x4008941an,
  subvolumeInfo: 0x81f8943cn,
  subvolumeDestroyV2: 0x5000943fn,
  subvolumeWait: 0x40109441n,
} as const;

/** Asking for a read-only subvolume and finding one are different bits: BTRFS_SUBVOL_RDONLY and BTRFS_ROOT_SUBVOL_RDONLY. */
const readOnlyRequest = 2;
const readOnlyRoot = 1n;

export function createSubvolume(directory: number, name: string): void {
  call('ioctl', `SUBVOL_CREATE ${name}`, directory, ioctls.subvolumeCreate, argumentsV2(0, 0, name));
}

/** Snapshots an open subvolume; commits a transaction, so it is durable on return, though the name above it may not be. */
export function createSnapshot(
  source: number,
  directory: number,
  name: string,
  access: 'readonly' | 'writable',
): void {
  const flags = access === 'readonly' ? readOnlyRequest : 0;
  call('ioctl', `SNAP_CREATE ${name}`, directory, ioctls.snapshotCreate, argumentsV2(source, flags, name));
}

/** Deletes a subvolume at once; the kernel frees its space later. */
export function destroySubvolume(directory: number, name: string): void {
  const request = Buffer.alloc(4096);
  request.write(name, 8);
  call('ioctl', `SNAP_DESTROY ${name}`, directory, ioctls.subvolumeDestroy, request);
}

/** Lets its owner write into a subvolume that was read-only. */
export function makeSubvolumeWritable(fd: number): void {
  const flags = Buffer.alloc(8);
  call('ioctl', 'SUBVOL_GETFLAGS', fd, ioctls.subvolumeGetFlags, flags);
  flags.writeBigUInt64LE(flags.readBigUInt64LE(0) & ~BigInt(readOnlyRequest), 0);
  call('ioctl', 'SUBVOL_SETFLAGS', fd, ioctls.subvolumeSetFlags, flags);
}

/** The same for a subvolume anywhere in the file system. It is found by its id: no path is gone, and no mount entered. */
export function destroySubvolumeById(fd: number, id: bigint): void {
  const byId = 0x10n;
  const request = Buffer.alloc(4096);
  request.writeBigUInt64LE(byId, 16);
  request.writeBigUInt64LE(id, 56);
  call('ioctl', `SNAP_DESTROY_V2 ${id}`, fd, ioctls.subvolumeDestroyV2, request);
}

export interface SubvolumeInfo {
  readonly id: bigint;
  readonly uuid: string;
  readonly readOnly: boolean;
  /** The transaction of the last change, and of the creation: the storage's own clock. */
  readonly changedIn: bigint;
  readonly createdIn: bigint;
}

/** What the file system knows of the subvolume that a descriptor lies in; works without root. */
export function subvolumeInfo(fd: number): SubvolumeInfo {
  const info = Buffer.alloc(504);
  call('ioctl', 'GET_SUBVOL_INFO', fd, ioctls.subvolumeInfo, info);
  return {
    id: info.readBigUInt64LE(0),
    readOnly: (info.readBigUInt64LE(0x120) & readOnlyRoot) !== 0n,
    uuid: formatUuid(info.subarray(0x128, 0x138)),
    changedIn: info.readBigUInt64LE(0x158),
    createdIn: info.readBigUInt64LE(0x160),
  };
}

/** The UUID of the file system that a descriptor lies in. */
export function fileSystemUuid(fd: number): string {
  const info = Buffer.alloc(1024);
  call('ioctl', 'FS_INFO', fd, ioctls.fileSystemInfo, info);
  return formatUuid(info.subarray(16, 32));
}

/**
 * Commits the running transaction and waits for it: names, attributes and reflinks become durable; nobody's data is flushed.
 *
 * Writing the label that is there commits in the calling thread. START_SYNC takes as long, but hands the commit to a thread of the
 * kernel, and that loses the request now and then when others commit too: on Linux 6.18, 6 of 1,200 calls in four processes
 * that took snapshots meanwhile waited 30 s, until the next regular commit. So it is only for those who may not set a label.
 */
export function commitTransaction(fd: number): void {
  try {
    rewriteLabel(fd);
  } catch (error) {
    if (!hasErrno(error, 'EPERM', 'EACCES', 'EROFS')) throw error;
    commitInKernelThread(fd);
  }
}

/** The same through a thread of the kernel, which then also wakes the one that frees deleted subvolumes. */
export function commitInKernelThread(fd: number): void {
  const transaction = Buffer.alloc(8);
  call('ioctl', 'START_SYNC', fd, ioctls.startSync, transaction);
  call('ioctl', 'WAIT_SYNC', fd, ioctls.waitSync, transaction);
}

/** The number of the running transaction, which each commit raises, whoever asks for it. Kernels before 5.10 say 0. */
export function runningTransaction(fd: number): bigint {
  const withGeneration = 2n;
  const info = Buffer.alloc(1024);
  info.writeBigUInt64LE(withGeneration, 48);
  call('ioctl', 'FS_INFO', fd, ioctls.fileSystemInfo, info);
  return info.readBigUInt64LE(56);
}

/** Grows the file system to the whole of its device. */
export function growToDevice(fd: number): void {
  const request = Buffer.alloc(4096);
  request.write('max', 8);
  call('ioctl', 'RESIZE', fd, ioctls.resize, request);
}

const subvolumeWaitModes = { untilQueuedAreGone: 1, count: 2 } as const;

/** How many deleted subvolumes still wait for the kernel to free them; undefined where it (before 6.13) can't say. */
export function countDeletedSubvolumes(fd: number): number | undefined {
  const request = Buffer.alloc(16);
  request.writeUInt32LE(subvolumeWaitModes.count, 8);
  try {
    call('ioctl', 'SUBVOL_SYNC_WAIT', fd, ioctls.subvolumeWait, request);
    return request.readUInt32LE(12);
  } catch (error) {
    if (hasErrno(error, 'ENOTTY')) return undefined;
    throw error;
  }
}

/** Waits until the space of all subvolumes deleted so far is free; looks once a second. */
export function waitForDeletedSubvolumes(fd: number): void {
  const request = Buffer.alloc(16);
  request.writeUInt32LE(subvolumeWaitModes.untilQueuedAreGone, 8);
  try {
    call('ioctl', 'SUBVOL_SYNC_WAIT', fd, ioctls.subvolumeWait, request);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error; // nothing is queued
  }
}

const requestBuffer = Buffer.alloc(4096);

/** One buffer for every call, which is over when it returns: 4 KiB of garbage, or of zeros, for each clone is felt. */
function argumentsV2(fd: number, flags: number, name: string): Buffer {
  requestBuffer.writeInt32LE(fd, 0);
  requestBuffer.writeUInt32LE(flags, 16);
  requestBuffer.write(`${name}\0`, 56); // what follows the end of the name is not read
  return requestBuffer;
}
