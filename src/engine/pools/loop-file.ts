import { constants, fstatSync, mkdirSync, openSync, readSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  allocateFile,
  Descriptor,
  flush,
  moveAt,
  removeFileAt,
  resizeFile,
  statusIfAny,
} from '../../linux/files.ts';
import { hasErrno } from '../../linux/libc.ts';
import { lock } from '../../linux/locks.ts';
import { attachReadOnly } from '../../linux/loops.ts';
import { runProgram } from '../../linux/programs.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import { CoppiceError } from '../../model/errors.ts';
import { checkSize, formatSize, roundSize } from '../../model/sizes.ts';
import { type Claim, type CreatePoolOptions, mountOptions, poolLabel } from './claim.ts';
import { isAllocated } from './preallocate.ts';
import { isPoolFileSystem } from './recognise.ts';

const defaultBytes = 50 * 2 ** 30;
const smallestBytes = 256 * 2 ** 20;

/**
 * Makes the file under a pool, formatted, or takes the one that an earlier run made. It is made under another name and renamed
 * when it is whole, so a file of the right name is never half formatted.
 */
export function claimLoopFile(path: string, options: CreatePoolOptions, did: (step: string) => void): Claim {
  const file = resolve(options.file ?? `${path}.img`);
  const bytes = fileBytes(options);
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  using directory = new Descriptor(openSync(dirname(file), 'r'));
  const descriptor = takeLocked(directory.fd, file, bytes, options, did);
  // The kernel trims preallocated blocks away again if it is let; also when a pool that was made earlier is only mounted again.
  const preallocated = isAllocated(descriptor.fd);
  return {
    source: file,
    lock: descriptor.fd,
    backing: { type: 'loop', file, preallocated },
    mountOptions: ['loop', ...mountOptions, ...(preallocated ? ['nodiscard'] : [])],
    [Symbol.dispose]: () => descriptor[Symbol.dispose](),
  };
}

function fileBytes(options: CreatePoolOptions): number {
  const bytes = roundSize(checkSize(options.bytes ?? defaultBytes));
  if (bytes >= smallestBytes) return bytes;
  throw new CoppiceError(
    'invalid_argument',
    `A pool of ${formatSize(bytes)} is too small for btrfs; give it at least ${formatSize(smallestBytes)}, and better 4 GiB or more.`,
  );
}

function takeLocked(
  directory: number,
  file: string,
  bytes: number,
  options: CreatePoolOptions,
  did: (step: string) => void,
): Descriptor {
  const partial = join(dirname(file), `.${basename(file)}.coppice-partial`);
  for (;;) {
    const finished = statusIfAny(directory, basename(file)) !== undefined;
    const descriptor = openForLock(finished ? file : partial, finished);
    if (!descriptor) continue;
    lock(descriptor.fd, 'exclusive', true);
    const { ino } = fstatSync(descriptor.fd, { bigint: true });
    if (statusIfAny(directory, basename(finished ? file : partial))?.inode !== ino) {
      descriptor[Symbol.dispose](); // another run has finished it meanwhile
      continue;
    }
    try {
      if (finished) requireOurs(descriptor.fd, file);
      else make(descriptor.fd, directory, partial, file, bytes, options, did);
      return descriptor;
    } catch (error) {
      // Still under its lock, and only while it has this name: a whole file is never touched.
      if (!finished && statusIfAny(directory, basename(partial))?.inode === ino)
        removeFileAt(directory, basename(partial));
      descriptor[Symbol.dispose]();
      throw error;
    }
  }
}

function openForLock(path: string, finished: boolean): Descriptor | undefined {
  const flags = finished ? constants.O_RDWR : constants.O_RDWR | constants.O_CREAT;
  try {
    return new Descriptor(openSync(path, flags | constants.O_NOFOLLOW, 0o600));
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    if (hasErrno(error, 'EACCES', 'EPERM')) {
      throw new CoppiceError(
        'permission_denied',
        `A pool in a file needs root: ${path} can't be opened for writing.`,
        { cause: error },
      );
    }
    if (hasErrno(error, 'ELOOP', 'EISDIR', 'ENXIO')) {
      throw new CoppiceError(
        'invalid_argument',
        `${path} is ${hasErrno(error, 'ELOOP') ? 'a symbolic link' : 'not a regular file'}; name the file itself with --file.`,
        { cause: error },
      );
    }
    throw error;
  }
}

function make(
  fd: number,
  directory: number,
  partial: string,
  file: string,
  bytes: number,
  options: CreatePoolOptions,
  did: (step: string) => void,
): void {
  resizeFile(fd, 0);
  if (options.preallocate) reserve(fd, bytes, directory, file);
  else resizeBackingFile(fd, bytes, file);
  const discard = options.preallocate ? ['-K'] : [];
  runProgram('mkfs.btrfs', ['-q', '-f', '-L', poolLabel, ...discard, '--', partial], [fd]);
  flush(fd);
  moveAt(directory, basename(partial), directory, basename(file));
  flush(directory);
  did(`made ${file}, ${formatSize(bytes)}, ${options.preallocate ? 'preallocated' : 'sparse'}, btrfs`);
}

/** Sets the size of a file under a pool; the file system that it lies on has a limit for that. */
export function resizeBackingFile(fd: number, bytes: number, file: string): void {
  try {
    resizeFile(fd, bytes);
  } catch (error) {
    if (!hasErrno(error, 'EFBIG')) throw error;
    throw new CoppiceError(
      'invalid_argument',
      `The file system of ${dirname(file)} can't hold a file of ${formatSize(bytes)}; choose a smaller size, or a file on another file system.`,
      { cause: error },
    );
  }
}

function reserve(fd: number, bytes: number, directory: number, file: string): void {
  const { freeBytes } = fileSystemSpace(directory);
  const refusal = (cause?: unknown): CoppiceError =>
    new CoppiceError(
      'no_space',
      `There is not enough space to preallocate ${file}: it needs ${formatSize(bytes)}, and ${dirname(file)} has ${formatSize(freeBytes)} free; choose a smaller --size.`,
      { neededBytes: bytes, availableBytes: freeBytes, cause },
    );
  if (freeBytes < bytes) throw refusal();
  try {
    allocateFile(fd, bytes);
  } catch (error) {
    resizeFile(fd, 0);
    throw hasErrno(error, 'ENOSPC') ? refusal(error) : error;
  }
}

/** Only a look at the superblock says without a mount whether it is btrfs at all: its magic stands 64 bytes into it. */
function requireOurs(fd: number, file: string): void {
  if (!fstatSync(fd).isFile()) {
    throw new CoppiceError(
      'invalid_argument',
      `${file} is not a regular file; a block device is given with --device.`,
    );
  }
  const magic = Buffer.alloc(8);
  readSync(fd, magic, 0, magic.length, 0x10040);
  if (magic.toString('latin1') === '_BHRfS_M' && isPoolFileSystem(file, () => attachReadOnly(fd))) return;
  throw new CoppiceError(
    'already_exists',
    `${file} exists and is not the file of a pool; choose another --file, or move it away.`,
  );
}
