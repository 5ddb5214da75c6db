import { constants, fchmodSync, fchownSync, fstatSync, readdirSync } from 'node:fs';
import { countExtents, reflink } from '../../linux/extents.ts';
import { type FileStatus, isRegularFile, statusAt, statusIfAny } from '../../linux/file-status.ts';
import {
  closingOnFailure,
  descriptorPath,
  flush,
  openAt,
  openDirectoryAt,
  resizeFile,
  writeOut,
} from '../../linux/files.ts';
import type { FileIdentity } from '../../linux/holders.ts';
import { isOpenElsewhere } from '../../linux/leases.ts';
import { lock } from '../../linux/locks.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { PayloadUsage } from '../driver.ts';
import { diskPath, type OpenSource, openUnlessForeign } from './places.ts';

/** The disk of an entry: the file `disk.raw` in what is named `data`, whatever that is on this file system. */

export const diskName = 'disk.raw';

/** Opens a disk without ever waiting: somebody may have put a pipe in its place. @throws CoppiceError damaged */
export function openDisk(entry: number, access: 'read' | 'write'): OpenSource {
  const { O_RDONLY, O_RDWR, O_NONBLOCK } = constants;
  const disk = openAt(entry, diskPath, (access === 'read' ? O_RDONLY : O_RDWR) | O_NONBLOCK);
  return closingOnFailure(disk, () => {
    const status = statusAt(disk.fd, '');
    if (isRegularFile(status)) return { disk, status };
    throw notADisk();
  });
}

/** The same of a source. @throws CoppiceError damaged also when the disk is gone, without looking for it first */
export function openSource(entry: number): OpenSource {
  try {
    return openDisk(entry, 'read');
  } catch (error) {
    throw hasErrno(error, 'ENOENT') ? diskGone(error) : error;
  }
}

/**
 * Makes an empty disk share all blocks with another.
 * @param why what keeps two files of this file system from it
 * @throws CoppiceError unsupported when they can't
 */
export function shareBlocks(source: number, target: number, why: string): void {
  try {
    reflink(source, target);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL', 'EXDEV', 'EOPNOTSUPP')) throw error;
    throw new CoppiceError('unsupported', `The copy can't share blocks with its source, because ${why}.`, {
      cause: error,
    });
  }
}

/**
 * Gives a new disk the owner and mode of its source.
 * @param fresh what a new file has by itself
 */
export function keepOwner(
  disk: number,
  source: Pick<FileStatus, 'mode' | 'uid' | 'gid'>,
  fresh: Pick<FileStatus, 'uid' | 'gid'>,
): void {
  if (source.uid !== fresh.uid || source.gid !== fresh.gid) fchownSync(disk, source.uid, source.gid);
  if ((source.mode & 0o7777) !== 0o600) fchmodSync(disk, source.mode & 0o7777);
}

/** @throws CoppiceError busy while a hypervisor is told the size, which it will set: what is added meanwhile would be cut off again */
export function growDisk(volume: number, bytes: number): void {
  using data = openDirectoryAt(volume, 'data');
  if (!lock(data.fd, 'exclusive', false))
    throw new CoppiceError(
      'busy',
      'A hypervisor is being told the size of this disk; try again when it knows.',
    );
  using disk = openDisk(volume, 'write').disk;
  resizeFile(disk.fd, bytes);
  flush(disk.fd);
}

/** An fsync would commit a log, too, which nobody needs who takes a copy next: that is made durable by a commit of everything. */
export function writeOutDisk(entry: number): void {
  requireDisk(entry);
  using disk = openDisk(entry, 'read').disk;
  writeOut(disk.fd);
}

export function isEmpty(entry: number): boolean {
  using data = openDirectoryAt(entry, 'data');
  return readdirSync(descriptorPath(data.fd)).length === 0;
}

export function diskSize(entry: number): number {
  return requireDisk(entry).bytes;
}

export function countDiskExtents(entry: number): number {
  using disk = openDisk(entry, 'read').disk;
  return countExtents(disk.fd);
}

export function cheapUsage(entry: number): PayloadUsage {
  const { bytes, allocatedBytes } = requireDisk(entry);
  return { logicalBytes: bytes, referencedBytes: allocatedBytes };
}

/** @throws CoppiceError damaged when somebody has removed it */
export function requireDisk(entry: number): FileStatus {
  const status = statusIfAny(entry, diskPath);
  if (!status) throw diskGone();
  if (!isRegularFile(status)) throw notADisk();
  return status;
}

export interface OpenDisk extends FileIdentity {
  /** Undefined: the kernel won't say. */
  readonly openElsewhere: boolean | undefined;
}

/** The disk as /proc shows it to whoever has it open, and whether anybody has; nothing when there is no disk that can be open. */
export function probeDisk(entry: number, path: string): OpenDisk | undefined {
  using data = openUnlessForeign(entry, 'data');
  const status = data && statusIfAny(data.fd, diskName);
  if (!status || !isRegularFile(status)) return undefined;
  using disk = openDisk(entry, 'read').disk;
  const { dev, ino } = fstatSync(disk.fd, { bigint: true });
  return { device: dev, inode: ino, path, openElsewhere: isOpenElsewhere(disk.fd) };
}

function diskGone(cause?: unknown): CoppiceError {
  return new CoppiceError(
    'damaged',
    `The disk ${diskPath} of this volume is gone; "coppice pool check" says more.`,
    { cause },
  );
}

function notADisk(): CoppiceError {
  return new CoppiceError(
    'damaged',
    `${diskPath} of this volume is not a regular file: somebody has put something else in its place; remove that and roll back to a snapshot.`,
  );
}
