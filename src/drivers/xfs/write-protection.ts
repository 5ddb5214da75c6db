import { fchmodSync } from 'node:fs';
import { inodeFlags, readInodeFlags, writeInodeFlags } from '../../linux/inode-flags.ts';
import { hasErrno } from '../../linux/system-calls.ts';

/**
 * What never changes is an immutable file. A descriptor that was opened before the flag was set still writes, so it is only ever
 * set on a new file that nobody else has opened. Only root may set it: others get a file that nobody may open for writing, which
 * root, and its owner with chmod, can undo.
 */
const writeBits = 0o222;
const ownerWrites = 0o200;

export function protectFromWrites(disk: number, mode: number): void {
  try {
    writeInodeFlags(disk, readInodeFlags(disk) | inodeFlags.immutable);
  } catch (error) {
    if (!hasErrno(error, 'EPERM', 'EACCES', 'EOPNOTSUPP', 'ENOTTY')) throw error;
    fchmodSync(disk, mode & 0o7777 & ~writeBits);
  }
}

export function isWriteProtected(disk: number, mode: number): boolean {
  return (mode & writeBits) === 0 || (readInodeFlags(disk) & inodeFlags.immutable) !== 0;
}

/** @throws SystemError EPERM when the flag was set by root, and this is not root */
export function allowRemoval(disk: number): void {
  writeInodeFlags(disk, readInodeFlags(disk) & ~inodeFlags.immutable);
}

/** The mode for a writable copy of a disk with this one. */
export function writableMode(mode: number): number {
  return (mode & writeBits) === 0 ? mode | ownerWrites : mode;
}
