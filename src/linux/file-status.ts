import { constants } from 'node:fs';
import { attempt, call, unlessAbsent } from './system-calls.ts';

/** What files and directories are, by statx(2): relative to an open directory, and without following a link at the end. */

/** The inode number of the root of every btrfs subvolume, which no other directory has. */
export const firstInode = 256n;

export interface FileStatus {
  /** How many names it has; a directory that was removed has none. */
  readonly links: number;
  readonly inode: bigint;
  /** Device number as major * 2^20 + minor, comparable with another status only. */
  readonly device: number;
  readonly bytes: number;
  readonly allocatedBytes: number;
  /** Milliseconds since 1970, with fractions: when it was last changed in any way, which nobody can set back, and when it was made. */
  readonly changedAt: number;
  readonly madeAt: number;
  readonly mode: number;
  /** Something is mounted there, and this is the status of that. */
  readonly isMountPoint: boolean;
  readonly uid: number;
  readonly gid: number;
}

const statusBuffer = Buffer.alloc(256);
const statusWords = new Uint32Array(statusBuffer.buffer, statusBuffer.byteOffset, 64);
const statusLongWords = new BigUint64Array(statusBuffer.buffer, statusBuffer.byteOffset, 32);

/** The status of a path under a directory, or of the directory itself with an empty path. Links are not followed. */
export function statusAt(directory: number, path: string): FileStatus {
  call('statx', path, ...statxArguments(directory, path));
  return decodeStatus();
}

/** The same, or undefined when there is nothing of that name, or nothing that may be seen. */
export function statusIfAny(directory: number, path: string): FileStatus | undefined {
  const result = attempt('statx', path, ...statxArguments(directory, path));
  return unlessAbsent(result, 'statx', path) === undefined ? undefined : decodeStatus();
}

function statxArguments(directory: number, path: string): unknown[] {
  const AT_EMPTY_PATH = 0x1000;
  const AT_SYMLINK_NOFOLLOW = 0x100;
  const basicAndBirth = 0xfff;
  return [directory, path, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, basicAndBirth, statusBuffer];
}

function decodeStatus(): FileStatus {
  return {
    links: statusWords[0x10 / 4] ?? 0,
    uid: statusWords[0x14 / 4] ?? 0,
    gid: statusWords[0x18 / 4] ?? 0,
    isMountPoint: ((statusWords[0x08 / 4] ?? 0) & 0x2000) !== 0,
    mode: (statusWords[0x1c / 4] ?? 0) & 0xffff,
    inode: statusLongWords[0x20 / 8] ?? 0n,
    bytes: longWord(0x28),
    allocatedBytes: longWord(0x30) * 512,
    madeAt: milliseconds(0x50),
    changedAt: milliseconds(0x60),
    device: (statusWords[0x88 / 4] ?? 0) * 2 ** 20 + (statusWords[0x8c / 4] ?? 0),
  };
}

const STATX_MNT_ID = 0x1000;

/** Tells the mounts apart that there are; undefined where the kernel (before 5.8) can't. */
export function mountIdOf(fd: number): number | undefined {
  const [directory, path, flags] = statxArguments(fd, '');
  call('statx', 'mount', directory, path, flags, STATX_MNT_ID, statusBuffer);
  return mountId();
}

/**
 * The sizes of a regular file at the end of a path that has no link in it, in one call. Undefined where there is none, and where the path
 * leads into another mount than that.
 */
export function regularFileOn(
  mount: number | undefined,
  directory: number,
  path: string,
): Pick<FileStatus, 'bytes' | 'allocatedBytes'> | undefined {
  const typeAndSizes = 0x601;
  const [, , flags] = statxArguments(directory, path);
  const result = attempt('statx', path, directory, path, flags, typeAndSizes | STATX_MNT_ID, statusBuffer);
  if (unlessAbsent(result, 'statx', path) === undefined) return undefined;
  const mode = (statusWords[0x1c / 4] ?? 0) & 0xffff;
  if ((mode & constants.S_IFMT) !== constants.S_IFREG) return undefined;
  if (mount === undefined || mountId() !== mount) return undefined;
  return { bytes: longWord(0x28), allocatedBytes: longWord(0x30) * 512 };
}

function mountId(): number | undefined {
  return ((statusWords[0] ?? 0) & STATX_MNT_ID) === 0 ? undefined : longWord(0x90);
}

/** What is mounted there does not count: that belongs elsewhere. */
export function isRegularFile({ mode, isMountPoint }: FileStatus): boolean {
  return (mode & constants.S_IFMT) === constants.S_IFREG && !isMountPoint;
}

export function isDirectory({ mode, isMountPoint }: FileStatus): boolean {
  return (mode & constants.S_IFMT) === constants.S_IFDIR && !isMountPoint;
}

/** Sizes are safe integers; without a BigInt in between. */
function longWord(offset: number): number {
  return (statusWords[offset / 4] ?? 0) + (statusWords[offset / 4 + 1] ?? 0) * 2 ** 32;
}

function milliseconds(offset: number): number {
  return longWord(offset) * 1000 + (statusWords[offset / 4 + 2] ?? 0) / 1e6;
}
