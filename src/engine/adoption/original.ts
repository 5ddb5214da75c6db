import { constants, fstatSync } from 'node:fs';
import { isDirectory, isRegularFile, statusIfAny } from '../../linux/file-status.ts';
import { type Descriptor, openAt, removeFileAt } from '../../linux/files.ts';
import { fileSystemIdentity } from '../../linux/filesystem-identity.ts';
import { isOpenElsewhere } from '../../linux/leases.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { AdoptedFile } from '../../model/metadata.ts';
import type { SourceStatus } from '../source-image.ts';
import type { Entry } from './entries.ts';

/** Opens a file to read it, and leaves no trace of that where we may. Never follows a link or waits. */
export function openOriginal({ directory, file }: Pick<Entry, 'directory' | 'file'>): Descriptor {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  try {
    return openAt(directory.fd, file, flags | constants.O_NOATIME);
  } catch (error) {
    if (!hasErrno(error, 'EPERM')) throw error;
    return openAt(directory.fd, file, flags);
  }
}

/** Why what lies there is no file that can be opened, in a form that follows "because"; undefined when it is one. */
export function whyNoFile({ directory, file }: Pick<Entry, 'directory' | 'file'>): string | undefined {
  const status = statusIfAny(directory.fd, file);
  if (!status) {
    return file.includes('\uFFFD') ? 'its name is not UTF-8' : 'it is gone, or may not be looked at';
  }
  if (status.isMountPoint) return 'something is mounted on it';
  if ((status.mode & constants.S_IFMT) === constants.S_IFLNK) return 'it is a symbolic link';
  if (isDirectory(status)) return 'it is a directory; give it as an argument to adopt what is in it';
  return isRegularFile(status) ? undefined : 'it is not a regular file';
}

export function identityOf(file: string, fd: number, status: SourceStatus): AdoptedFile {
  const filesystem = fileSystemIdentity(fd);
  return {
    file,
    ...(filesystem !== undefined && { filesystem }),
    inode: String(status.ino),
    changed: String(status.ctimeNs),
    bytes: Number(status.size),
  };
}

/** Whether a file that was looked at is still the same, in a directory that has stayed open since. */
export function isSameFile(a: AdoptedFile, b: AdoptedFile): boolean {
  return hasSameInode(a, b) && a.changed === b.changed && a.bytes === b.bytes;
}

/** Whether a file is the one that a record of earlier speaks of. Where that does not say of which file system, it is not believed. */
export function isRecordOf(record: AdoptedFile, file: AdoptedFile): boolean {
  return record.filesystem !== undefined && isSameFile(record, file);
}

export function hasSameInode(a: AdoptedFile, b: AdoptedFile): boolean {
  return a.inode === b.inode && a.filesystem === b.filesystem;
}

/**
 * Removes the file that a disk was made from. The disk must be durable.
 * @throws CoppiceError blocked, when the file is not that any more, or somebody has it open
 */
export function removeOriginal(entry: Entry, adopted: AdoptedFile): void {
  const keep = (why: string, what: string): CoppiceError =>
    new CoppiceError('blocked', `${entry.label} was adopted, but not removed: ${why}; ${what}.`);
  {
    using original = openOriginal(entry);
    const status = fstatSync(original.fd, { bigint: true });
    if (!isSameFile(identityOf(entry.file, original.fd, status), adopted))
      throw keep('it has changed meanwhile', 'look at what is in it, and remove it yourself');
    // Undefined: the kernel won't say, and what can't be told is taken for the worse.
    if (isOpenElsewhere(original.fd) !== false)
      throw keep('somebody has it open, or may have', 'stop what uses it, and adopt it again');
  }
  removeFileAt(entry.directory.fd, entry.file);
}
