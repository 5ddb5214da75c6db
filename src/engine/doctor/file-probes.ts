import { openSync, readFileSync, writeSync } from 'node:fs';
import { largestAttribute, readAttribute, removeAttribute, writeAttribute } from '../../linux/attributes.ts';
import { reflink } from '../../linux/extents.ts';
import {
  closingOnFailure,
  createFileAt,
  createUnnamedAt,
  Descriptor,
  descriptorPath,
  removeFileAt,
} from '../../linux/files.ts';
import { isOpenElsewhere } from '../../linux/leases.ts';
import { lock } from '../../linux/locks.ts';
import { hasErrno, SystemError } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';

/** What a file system was found to do: nothing when it does it, else what happened instead, as the end of a sentence. */
export interface FileProbes {
  readonly reflink: string | undefined;
  readonly attribute: string | undefined;
  readonly lock: string | undefined;
  readonly lease: string | undefined;
}

const probeBytes = 65_536;

/** Tries what Coppice needs of files. @param makeFile gives an empty file without a name, so nothing can be left of it */
export function probeFiles(makeFile: () => Descriptor): FileProbes {
  using file = makeFile();
  const bytes = Buffer.alloc(probeBytes, 'coppice');
  writeSync(file.fd, bytes);
  return {
    reflink: outcomeOf(() => probeReflink(makeFile, file.fd, bytes)),
    attribute: outcomeOf(() => probeAttribute(file.fd)),
    lock: outcomeOf(() => probeLock(file.fd)),
    lease: outcomeOf(() => probeLease(file.fd)),
  };
}

/** @param fallback where the file system has no files that never had a name (over a network): a directory to make one in, and its name for that moment */
export function namelessFile(
  directory: number,
  fallback?: { readonly fd: number; readonly name: string },
): Descriptor {
  const unnamed = createUnnamedAt(directory);
  if (unnamed) return unnamed;
  const EOPNOTSUPP = 95;
  if (!fallback) throw new SystemError(EOPNOTSUPP, 'openat2', '.');
  const file = createFileAt(fallback.fd, fallback.name);
  return closingOnFailure(file, () => {
    removeFileAt(fallback.fd, fallback.name);
    return file;
  });
}

function probeReflink(makeFile: () => Descriptor, file: number, bytes: Buffer): string | undefined {
  using target = makeFile();
  reflink(file, target.fd);
  return readFileSync(descriptorPath(target.fd)).equals(bytes) ? undefined : 'the copy holds other data';
}

function probeAttribute(file: number): string | undefined {
  const [name, value] = ['user.coppice.doctor', 'x'.repeat(largestAttribute)];
  writeAttribute(file, name, value);
  const same = readAttribute(file, name)?.toString() === value;
  removeAttribute(file, name);
  return same ? undefined : 'what was written does not come back';
}

function probeLock(file: number): string | undefined {
  using second = reopen(file);
  lock(file, 'exclusive', false);
  return lock(second.fd, 'exclusive', false) ? 'two can have it at the same time' : undefined;
}

function probeLease(file: number): string | undefined {
  if (isOpenElsewhere(file) !== false) return 'the kernel does not say that nobody has a file open';
  using _ = reopen(file);
  return isOpenElsewhere(file) === true ? undefined : 'the kernel does not say that somebody has a file open';
}

function reopen(file: number): Descriptor {
  return new Descriptor(openSync(descriptorPath(file), 'r'));
}

/** A system call that failed is an answer; that the disk is full or fails is none. */
export function outcomeOf(probe: () => string | undefined): string | undefined {
  try {
    return probe();
  } catch (failure) {
    // An attribute that is too large for the file system is ENOSPC as well.
    const isAnswer = failure instanceof SystemError && failure.syscall === 'fsetxattr';
    if (!isAnswer && hasErrno(failure, 'ENOSPC', 'EDQUOT', 'EIO', 'EROFS')) throw failure;
    if (failure instanceof SystemError || failure instanceof CoppiceError)
      return failure.message.replace(/\.$/, '');
    throw failure;
  }
}
