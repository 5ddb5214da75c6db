import { constants, fstatSync, mkdirSync, openSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Backend } from '../../drivers/backend.ts';
import { statusIfAny } from '../../linux/file-status.ts';
import {
  allocateFile,
  closingOnFailure,
  Descriptor,
  flush,
  moveAt,
  removeFileAt,
  resizeFile,
} from '../../linux/files.ts';
import { lock } from '../../linux/locks.ts';
import { attachReadOnly } from '../../linux/loops.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { CoppiceError } from '../../model/errors.ts';
import { checkSize, formatSize, roundSize } from '../../model/sizes.ts';
import { type Claim, type CreatePoolOptions, poolLabel } from './claim.ts';
import { isAllocated, requireRoom } from './preallocate.ts';
import { recognisePool } from './recognise.ts';

const defaultBytes = 50 * 2 ** 30;

/**
 * Makes the file under a pool, formatted, or takes the one that an earlier run made. It is made under another name and renamed
 * when it is whole, so a file of the right name is never half formatted.
 */
export function claimLoopFile(
  path: string,
  wanted: Backend,
  options: CreatePoolOptions,
  did: (step: string) => void,
): Claim {
  const file = resolve(options.file ?? `${path}.img`);
  const bytes = fileBytes(wanted, options);
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  using directory = new Descriptor(openSync(dirname(file), 'r'));
  const { descriptor, backend } = takeLocked(
    { directory: directory.fd, file, bytes, backend: wanted },
    options,
    did,
  );
  const preallocated = isAllocated(descriptor.fd);
  // Before anything is mounted.
  if (options.preallocate && !preallocated)
    closingOnFailure(descriptor, () => requireRoom(descriptor.fd, file));
  return {
    source: file,
    backend,
    lock: descriptor.fd,
    backing: { type: 'loop', file, preallocated },
    // The kernel trims reserved blocks away again if it is let; also when a pool that was made earlier is only mounted again.
    keepBlocks: preallocated || (options.preallocate ?? false),
    [Symbol.dispose]: () => descriptor[Symbol.dispose](),
  };
}

function fileBytes({ name, smallestBytes }: Backend, options: CreatePoolOptions): number {
  const bytes = roundSize(checkSize(options.bytes ?? defaultBytes));
  if (bytes >= smallestBytes) return bytes;
  throw new CoppiceError(
    'invalid_argument',
    `A pool of ${formatSize(bytes)} is too small for ${name}; give it at least ${formatSize(smallestBytes)}, and better 4 GiB or more.`,
  );
}

interface WantedFile {
  /** The open directory that it lies in. */
  readonly directory: number;
  readonly file: string;
  readonly bytes: number;
  /** What it is formatted with, when it is not there yet. */
  readonly backend: Backend;
}

function takeLocked(
  wanted: WantedFile,
  options: CreatePoolOptions,
  did: (step: string) => void,
): { readonly descriptor: Descriptor; readonly backend: Backend } {
  const { directory, file } = wanted;
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
      if (finished) return { descriptor, backend: requireOurs(descriptor.fd, file) };
      make(descriptor.fd, partial, wanted, options, did);
      return { descriptor, backend: wanted.backend };
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
  partial: string,
  { directory, file, bytes, backend }: WantedFile,
  options: CreatePoolOptions,
  did: (step: string) => void,
): void {
  resizeFile(fd, 0);
  if (options.preallocate) reserve(fd, bytes, directory, file);
  else resizeBackingFile(fd, bytes, file);
  backend.format(partial, {
    label: poolLabel,
    keepBlocks: options.preallocate ?? false,
    descriptors: [fd],
  });
  flush(fd);
  moveAt(directory, basename(partial), directory, basename(file));
  flush(directory);
  did(
    `made ${file}, ${formatSize(bytes)}, ${options.preallocate ? 'preallocated' : 'sparse'}, ${backend.name}`,
  );
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

function requireOurs(fd: number, file: string): Backend {
  if (!fstatSync(fd).isFile()) {
    throw new CoppiceError(
      'invalid_argument',
      `${file} is not a regular file; a block device is given with --device.`,
    );
  }
  const backend = recognisePool(file, fd, () => attachReadOnly(fd));
  if (backend) return backend;
  throw new CoppiceError(
    'already_exists',
    `${file} exists and is not the file of a pool; choose another --file, or move it away.`,
  );
}
