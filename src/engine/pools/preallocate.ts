import { constants, fstatSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeAttribute } from '../../linux/attributes.ts';
import { allocateFile, Descriptor, flush } from '../../linux/files.ts';
import { mountOf } from '../../linux/mounts.ts';
import { runProgram } from '../../linux/programs.ts';
import { fileSystemSpace } from '../../linux/space.ts';
import { CoppiceError } from '../../model/errors.ts';
import { encodeMetadata } from '../../model/metadata-text.ts';
import { shellWord } from '../../model/shell-word.ts';
import { formatSize } from '../../model/sizes.ts';
import { presentBacking } from './beneath.ts';
import { type OpenRoot, openRoot, poolAttribute, readPoolMetadata } from './open.ts';

/**
 * Reserves all blocks of the file under a mounted pool. Discard is turned off first: with it the kernel would give blocks back
 * while they are being reserved. The marker comes last, so that an interrupted run is done again. Returns whether it did anything.
 */
export function preallocatePool(path: string): boolean {
  using root = openRoot(path);
  using _lock = root.backend.lock(root.fd);
  const backing = presentBacking(path, root.metadata.backing);
  if (backing.type !== 'loop') {
    throw new CoppiceError(
      'invalid_argument',
      `${path} is a pool that does not lie on a file, so there is nothing to preallocate; leave out --preallocate.`,
    );
  }
  using file = new Descriptor(openSync(backing.file, constants.O_RDWR | constants.O_NOFOLLOW));
  if (backing.preallocated && isAllocated(file.fd)) return false;
  requireRoom(file.fd, backing.file);
  stopDiscard(path, root, backing.file);
  allocateFile(file.fd, fstatSync(file.fd).size);
  flush(file.fd);
  const recorded = root.metadata.backing.type === 'loop' ? root.metadata.backing : backing;
  // Read anew: other processes write into it, too.
  const present = readPoolMetadata(root.fd) ?? root.metadata;
  const metadata = { ...present, backing: { ...recorded, preallocated: true } };
  writeAttribute(root.fd, poolAttribute, encodeMetadata(metadata));
  root.backend.commit(root.fd);
  return true;
}

/**
 * What was freed before is given back at the next commit. And xfs takes the option from a first mount only: from a later one it
 * is ignored without a word, so one looks.
 */
function stopDiscard(path: string, { fd, backend }: OpenRoot, file: string): void {
  runProgram('mount', ['-o', 'remount,nodiscard', '--', path]);
  const mount = mountOf(path);
  if (mount?.options.includes('discard')) {
    throw new CoppiceError(
      'blocked',
      `${path} can't be preallocated while it is mounted with discard: ${mount.type} would give the blocks back. Stop what uses it, run umount ${shellWord(mount.mountPoint)}, and then coppice pool create ${shellWord(path)} --file ${shellWord(file)} --preallocate.`,
    );
  }
  backend.commit(fd);
}

/** Whether every block of a file is reserved. */
export function isAllocated(fd: number): boolean {
  const { size, blocks } = fstatSync(fd);
  return size > 0 && blocks * 512 >= size;
}

/** @throws CoppiceError no_space */
export function requireRoom(fd: number, file: string): void {
  const needed = missingBytes(fd);
  const { freeBytes } = fileSystemSpace(fd);
  if (freeBytes >= needed) return;
  throw new CoppiceError(
    'no_space',
    `There is not enough space to preallocate ${file}: it needs ${formatSize(needed)} more, and ${dirname(file)} has ${formatSize(freeBytes)} free; free space there.`,
    { neededBytes: needed, availableBytes: freeBytes },
  );
}

/** What a sparse file may still take from its host. */
function missingBytes(fd: number): number {
  const { size, blocks } = fstatSync(fd);
  return Math.max(0, size - blocks * 512);
}

/** One sentence where a file may take more from its host than that has, else none. */
export function overcommitWarnings(file: string): string[] {
  using descriptor = new Descriptor(openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW));
  const { freeBytes } = fileSystemSpace(descriptor.fd);
  const { size } = fstatSync(descriptor.fd);
  if (missingBytes(descriptor.fd) <= freeBytes) return [];
  return [
    `${file} may grow to ${formatSize(size)}, but ${dirname(file)} has only ${formatSize(freeBytes)} free: when that is used up, writes in the pool fail and it turns read-only; free space there, or choose a smaller --size.`,
  ];
}
