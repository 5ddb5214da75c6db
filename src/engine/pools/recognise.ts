import { constants, openSync, readdirSync } from 'node:fs';
import { areas } from '../../drivers/btrfs/places.ts';
import { fileSystemLabel, fileSystemUuid } from '../../linux/btrfs.ts';
import { openDetachedBtrfs } from '../../linux/detached-mount.ts';
import { Descriptor, descriptorPath } from '../../linux/files.ts';
import { hasErrno, SystemError } from '../../linux/libc.ts';
import { type Mount, readMounts } from '../../linux/mounts.ts';
import { CoppiceError } from '../../model/errors.ts';
import { isSame, presentSource } from './beneath.ts';
import { poolLabel } from './claim.ts';
import { readKnownMetadata } from './open.ts';

/**
 * Whether a btrfs is a pool, or one that an interrupted run has only formatted. The pool's marker says so; its label is the
 * user's to change. Looks without writing: it may be a stranger's.
 * @param source the file or device, as the user called it
 * @param attach gives the device to look into, where it is not mounted already
 */
export function isPoolFileSystem(source: string, attach: () => Disposable & { path: string }): boolean {
  const mount = mountsOf(source)[0];
  if (mount) {
    using root = new Descriptor(openSync(mount.mountPoint, constants.O_RDONLY | constants.O_DIRECTORY));
    return mount.type === 'btrfs' && isPoolRoot(root.fd, source);
  }
  using device = attach();
  using root = openUnseen(device.path, source);
  return isPoolRoot(root.fd, source);
}

/** The mounts of a file or device, by whatever name. */
export function mountsOf(source: string): Mount[] {
  return readMounts().filter(
    (mount) =>
      mount.source.startsWith('/') &&
      [mount.source, presentSource(mount.source)].some((name) => isSame(name, source)),
  );
}

function isPoolRoot(root: number, source: string): boolean {
  const metadata = readKnownMetadata(root, source);
  if (metadata) return metadata.filesystem === fileSystemUuid(root);
  // Only what is empty is taken for unfinished work, so that a label alone gives nobody's data away.
  return (
    fileSystemLabel(root) === poolLabel &&
    readdirSync(descriptorPath(root)).every(
      (name) => name in areas && readdirSync(`${descriptorPath(root)}/${name}`).length === 0,
    )
  );
}

function openUnseen(device: string, source: string): Descriptor {
  try {
    return openDetachedBtrfs(device);
  } catch (error) {
    if (!(error instanceof SystemError) || hasErrno(error, 'EPERM', 'EACCES', 'ENOSYS')) throw error;
    throw new CoppiceError(
      'damaged',
      `${source} holds a btrfs that can't be mounted to see whether it is a pool (${error.code}); "dmesg" says more.`,
      { cause: error },
    );
  }
}
